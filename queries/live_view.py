"""What ``linktrail up`` shows: the collector's status once a second, open findings as the lake has them, and a summary at the end.

On a terminal it is one picture that is drawn again; elsewhere a line for each thing that changed; with ``--json`` one JSON object a second.
Names from a store are hostile: all of them go through ``printable`` and none is read as markup.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Final, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from collector.live import Status, read_status
from linktrail.clock import NANOSECONDS, Clock, iso
from linktrail.durations import spell_duration
from linktrail.errors import LakeMissingError, LinktrailError
from linktrail.sizes import human_bytes
from linktrail.state import State, default_state
from linktrail.text import printable
from processor.location import address
from queries.engine import open_lake

_STYLES: Final = {"critical": "bold red", "error": "red", "warning": "yellow", "info": "cyan"}
_FINDINGS_SECONDS: Final = 2
_SHOWN: Final = 12
_SILENT_SECONDS: Final = 10
OPEN_FINDINGS: Final = """
SELECT code, severity, subject_kind, subject, bytes, message, since_after, since_before, store_root
FROM findings_at('infinity')
ORDER BY list_position(['info', 'warning', 'error', 'critical'], severity) DESC, bytes DESC NULLS LAST, code, subject
"""
_RECORDED: Final = "SELECT count(*) AS links, max(observed_at) AS newest FROM links"

Row = dict[str, Any]


class View:
    """The live view of one state directory. A context manager."""

    def __init__(self, state: State, stream: TextIO, *, clock: Clock, as_json: bool) -> None:
        """Write to ``stream``; nothing is read before ``refresh``."""
        self._state = state
        self._stream = stream
        self._clock = clock
        self._as_json = as_json
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._findings: list[Row] = []
        self._recorded = 0
        self._looked = 0
        self._said: set[str] = set()
        self._counts: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        if not self._as_json and self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def refresh(self, said: Sequence[str]) -> None:
        """Show how things stand now; ``said`` is what there is to say of the programs."""
        now = self._clock.now()
        if now.monotonic - self._looked >= _FINDINGS_SECONDS * NANOSECONDS:
            self._looked = now.monotonic
            self._findings, self._recorded = read_lake_state(self._state)
        status = read_status(self._state.path)
        if self._as_json:
            document = {"status": asdict(status) if status else None, "recorded_links": self._recorded, "findings": len(self._findings)}
            self._stream.write(json.dumps({**document, "messages": list(said)}) + "\n")
            self._stream.flush()
        elif self._live is not None:
            self._live.update(self._picture(status, said, now.wall), refresh=True)
        else:
            self._lines(status, said)

    def _picture(self, status: Status | None, said: Sequence[str], now: int) -> Group:
        parts: list[Any] = [Text("linktrail up", style="bold")]
        if status is None:
            parts.append(Text("reading the stores for the first time ..."))
        else:
            parts += [_head(status, self._recorded, now), _stores(status)]
            parts += [Text(f"! {printable(trouble)}", style="red") for trouble in (status.trouble, status.spool_full) if trouble]
        parts += [Text(f"! {printable(text)}", style="red") for text in said]
        parts += [Text(""), findings_table(self._findings, _SHOWN), Text(""), Text("Ctrl-C ends it.", style="dim")]
        return Group(*parts)

    def _lines(self, status: Status | None, said: Sequence[str]) -> None:
        """Say what changed since the last time, a line each."""
        if status is not None:
            counts = (self._recorded, status.findings, status.gaps)
            if counts != self._counts:
                self._counts = counts
                self._say(f"recorded {self._recorded} link changes, {status.findings} open findings, {status.gaps} gaps ({status.mode})")
        for text in said:
            self._say(f"! {printable(text)}")
        for finding in self._findings:
            line = f"{finding['severity']} {finding['code']} {printable(finding['subject'])}: {printable(finding['message'])}"
            if line not in self._said:
                self._said.add(line)
                self._say(line)

    def _say(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


def read_lake_state(state: State) -> tuple[list[Row], int]:
    """Return the open findings, worst first, and the number of link changes in the lake; nothing where no lake is yet."""
    try:
        with open_lake(state.lake) as engine:
            return list(engine.rows(OPEN_FINDINGS)), int(engine.rows(_RECORDED)[0]["links"])
    except LakeMissingError:
        return [], 0


def summary(state: State, stream: TextIO, *, as_json: bool) -> None:
    """Write what is recorded, the open findings, and how to look further."""
    try:
        findings, recorded = read_lake_state(state)
    except LinktrailError:
        if as_json:
            raise
        stream.write("The lake cannot be read now; the spool keeps what is not in it yet.\n")
        raise
    if as_json:
        stream.write(json.dumps({"recorded_links": recorded, "findings": findings, "state": str(state.path)}, default=_plain) + "\n")
        return
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 160
    console.print(f"Recorded {recorded} link changes in {printable(address(state.lake))}.")
    console.print()
    console.print(findings_table(findings, len(findings)))
    console.print()
    option = "" if state.lake == default_state() / "lake" else f" --lake {address(state.lake)}"
    console.print("Look further (with --help for more):", soft_wrap=True)
    for words in ("findings", "timeline ID", "usage", "sql 'SELECT * FROM links LIMIT 10'"):
        console.print(f"  linktrail {words}{option}", soft_wrap=True)


def findings_table(findings: Sequence[Row], most: int) -> Table | Text:
    """Return the open findings as a table, or the sentence that there is none."""
    if not findings:
        return Text("No open finding: nothing leaks, nothing is broken.", style="green")
    table = Table(box=None, pad_edge=False, title=f"{len(findings)} open finding(s)", title_justify="left")
    for name in ("severity", "code", "subject", "bytes", "since"):
        table.add_column(name, justify="right" if name == "bytes" else "left", overflow="fold")
    for finding in findings[:most]:
        table.add_row(
            Text(finding["severity"], style=_STYLES.get(finding["severity"], "")),
            finding["code"],
            Text(printable(finding["subject"])),
            _size(finding["bytes"]),
            _since(finding),
        )
    if len(findings) > most:
        table.add_row("", f"... and {len(findings) - most} more", "", "", "")
    return table


def _size(count: int | None) -> str:
    return "?" if count is None else human_bytes(count)


def _head(status: Status, recorded: int, now: int) -> Text:
    running = spell_duration((now - status.started_at) / NANOSECONDS)
    behind = status.spool_next - status.spool_acknowledged
    lake = "the lake has it all" if behind <= 0 else f"the lake is {behind} batch(es) behind"
    watch = f"{status.mode}, {status.watches} watches" if status.watches else status.mode
    rate = f"{status.events_per_second:g} events/s"
    text = f"recording for {running} ({watch}) · {recorded} link changes recorded, {lake} · {rate} · gaps: {status.gaps}"
    silent = (now - status.updated_at) / NANOSECONDS
    if silent > _SILENT_SECONDS:
        text += f" · the collector has been silent for {spell_duration(silent)}"
    return Text(text)


def _stores(status: Status) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("store", "layers", "images", "containers", "links", "changes", "held"):
        table.add_column(name, justify="left" if name == "store" else "right", overflow="fold")
    for store in status.stores:
        name = printable(store.root) + (f" ({printable(store.down)})" if store.down else "")
        numbers = (store.layers, store.images, store.containers, store.links, store.changes)
        table.add_row(Text(name), *(str(number) for number in numbers), _size(store.bytes))
    return table


def _since(finding: Row) -> str:
    after, before = finding["since_after"], finding["since_before"]
    if before is None:
        return "unknown"
    last = f"{before:%Y-%m-%d %H:%M:%S}"
    if after is None:
        return f"before {last}"
    return f"{after:%Y-%m-%d %H:%M:%S} .. {before:%H:%M:%S}" if after.date() == before.date() else f"{after:%Y-%m-%d %H:%M:%S} .. {last}"


def _plain(value: Any) -> Any:  # noqa: ANN401 - json's hook
    return iso(int(value.timestamp() * NANOSECONDS)) if hasattr(value, "timestamp") else str(value)
