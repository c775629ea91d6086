"""``python -m tests.benchmarks.report``: docs/performance.md from build/bench/*.json, so that its numbers are those of the last runs.

Run it on the machine that ran the benchmarks, right after them: it describes that machine (processors, memory, kernel, filesystem of
temporary files, versions of the peers; no names or paths). Every row of every file is shown, goals met and missed alike.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

from collector.watch.probe import filesystem_type
from tests.benchmarks import bench_latency, bench_measure, bench_watch
from tests.benchmarks.goals import verdict

RESULTS = Path("build/bench")
PAGE = Path("docs/performance.md")
_HEAD = ("what", "measured", "peer", "its figure", "ratio", "goal", "", "rounds")
_INTRODUCTION = """\
Written by `python -m tests.benchmarks.report` from the last runs of `make bench`; to repeat one: `make bench BENCH=NAME`.
Readers take turns within a run, figures are medians of the rounds (of the worst round where it says so), and every figure
of a run is here. For rates and costs, a ratio of more than 1 is better than the peer; for the seconds of `survey` and
`reread`, less than 1."""
_ABOUT = {
    "watch": "Watching at full speed, beside inotifywait and the stock emitter of watchdog",
    "latency": "How late the record is, and what an idle collector costs",
    "measure": "Accounting a tree of a million entries, beside du",
    "survey": "Surveying a store of 2,000 layers, beside find",
    "reread": "Reading containerd's databases again",
    "kafka": "Through Apache Kafka, beside one JSON event per record",
    "lake": "Committing to the lake, and what an event costs as it grows",
    "queries": "Asking 20 million events of 200 nodes over 30 days, beside a native DuckDB file",
}


def page(results: Mapping[str, list[dict[str, object]]], machine: Iterable[str]) -> str:
    """Return the page: ``results`` are rows by benchmark, ``machine`` the lines that describe it."""
    parts = [
        "# Performance",
        _INTRODUCTION,
        "## Machine",
        "\n".join(f"* {line}" for line in machine),
    ]
    known = [*(name for name in _ABOUT if name in results), *sorted(results.keys() - _ABOUT.keys())]
    for name in known:
        parts += [f"## {_ABOUT.get(name, name)}", f"`make bench BENCH={name}`", _table(results[name])]
    return "\n\n".join(parts) + "\n"


def machine() -> list[str]:
    """Return what this machine is, in the words of the page."""
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")) / (1 << 20)
    disk = filesystem_type(Path(tempfile.gettempdir())) or "unknown"
    peers = [f"watchdog {version('watchdog')}", *filter(None, map(_peer, ("inotifywait", "du", "find")))]
    return [
        f"{os.cpu_count()} processors ({model}), {memory:.0f} GiB of memory",
        f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}; temporary files on {disk}",
        f"Load average over 15 minutes when this page was written: {os.getloadavg()[2]:.1f}",
        f"Peers: {', '.join(peers)}",
        f"watch: {bench_watch.LIVE:,} link operations of another process in {bench_watch.DIRECTORIES} directories on tmpfs",
        f"latency: ext4 in a file if one can be mounted, {bench_latency.RATE:,} changes a second for {bench_latency.SECONDS:g} s a round",
        f"measure: {bench_measure.DIRECTORIES:,} directories of {bench_measure.NAMES} names",
        "kafka: one Apache Kafka broker on this machine, so two processors at work share its processors with it",
    ]


def main() -> int:
    """Write the page; 1 when there are no results."""
    results = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(RESULTS.glob("*.json"))}
    if not results:
        print("no results in build/bench; run make bench first", file=sys.stderr)
        return 1
    PAGE.write_text(page(results, machine()), encoding="utf-8")
    return 0


def _table(rows: list[dict[str, object]]) -> str:
    lines = [_HEAD, tuple("---" for _ in _HEAD)]
    for row in rows:
        goal, peer = str(row.get("goal") or ""), str(row.get("peer") or "")
        cells = (row["name"], f"{_figure(row['value'])} {row['unit']}", peer, _figure(row.get("peer_value")), _figure(row.get("ratio")))
        lines.append((*map(str, cells), goal, verdict(row), str(row.get("rounds", ""))))
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _figure(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()


def _peer(program: str) -> str | None:
    """Return the name and version of a program as its first line of help or version tells them."""
    if shutil.which(program) is None:
        return None
    option = "--help" if program == "inotifywait" else "--version"
    done = subprocess.run((program, option), capture_output=True, text=True, check=False)
    words = (done.stdout or done.stderr).splitlines()
    return f"{program} {words[0].split()[-1]}" if words else program


if __name__ == "__main__":
    sys.exit(main())
