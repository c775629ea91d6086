"""``make bench [BENCH=name]``: run benchmarks, print their rows, and write each to build/bench/NAME.json (DESIGN section 4)."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path

import tests.benchmarks
from tests.benchmarks.goals import verdict

PREFIX = "bench_"
COLUMNS = ("name", "value", "unit", "peer", "peer_value", "ratio", "goal", "rounds")


def main(names: list[str]) -> int:
    """Run the benchmarks called ``names`` (all when none is named); 2 when one does not exist."""
    known = [
        module.name.removeprefix(PREFIX) for module in pkgutil.iter_modules(tests.benchmarks.__path__) if module.name.startswith(PREFIX)
    ]
    unknown = sorted(set(names) - set(known))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    results = Path("build/bench")
    results.mkdir(parents=True, exist_ok=True)
    for name in names or known:
        rows = importlib.import_module(f"tests.benchmarks.{PREFIX}{name}").run()
        (results / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        print("\t".join((*COLUMNS, "verdict")))
        for row in rows:
            print("\t".join((*(str(row.get(column, "")) for column in COLUMNS), verdict(row))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
