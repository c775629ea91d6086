"""What a person sees of a check: stores, findings with their advice, what is held back, and errors.

Names in a store are hostile: everything that comes from one is made printable and never read as markup. Output is plain text where the
stream is no terminal. Nothing is cut: ids are what people copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from collector.check import CheckReport, StoreReport
from collector.findings import Finding
from collector.stores.protocol import Progress, no_progress
from collector.whose import whose
from linktrail.clock import iso
from linktrail.sizes import human_bytes
from linktrail.text import printable

_STYLES: Final = {"critical": "bold red", "error": "red", "warning": "yellow", "info": "cyan"}
_NO_TERMINAL: Final = 1000  # columns: nobody wraps a file


def render(report: CheckReport, stream: TextIO, *, owners: bool = False) -> None:
    """Write ``report`` to ``stream`` for a person; with ``owners``, a table of whose every layer is."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _NO_TERMINAL
    console.print(_stores(report))
    for store in report.stores:
        if said := store.mounts.off or store.mounts.partly:
            what = "not looked at" if store.mounts.off else "not all seen"
            console.print(Text(f"mounts and open files of {printable(store.survey.root)}: {what} ({printable(said)})", style="dim"))
    for store in report.stores if owners else ():
        console.print()
        console.print(_owners(store))
    for store, finding in report.findings:
        console.print()
        for line in _finding(store, finding):
            console.print(line)
    console.print()
    for store in report.stores:
        if (compared := _compared(store)) is not None:
            console.print(compared)
    console.print(_summary(report))
    for error in report.errors:
        console.print(Text(f"error: {error.message}", style="red"))
        if error.advice:
            console.print(Text(f"  {error.advice}"))
    if report.hidden_errors:
        console.print(Text(f"error: {report.hidden_errors} more are not listed", style="red"))


@contextmanager
def progress_on(stream: TextIO, *, quiet: bool) -> Iterator[Progress]:
    """Yield a progress function that draws on ``stream`` while it is a terminal (and not ``quiet``), and draws nothing elsewhere."""
    console = Console(file=stream)
    if quiet or not console.is_terminal:
        yield no_progress
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        tasks = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total or None)
            bar.update(tasks[what], completed=done, total=total or None)

        yield advance


def _stores(report: CheckReport) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("store", "kind", "layers", "images", "containers", "findings"):
        table.add_column(name, overflow="fold", justify="left" if name in ("store", "kind") else "right")
    for store in report.stores:
        entry = store.document()
        root = printable(store.survey.root) + (" (read-only)" if store.survey.read_only else "")
        numbers = [str(entry[name]) for name in ("layers", "images", "containers", "findings")]
        table.add_row(Text(root), Text(store.survey.kind.value), *numbers)
    return table


def _owners(store: StoreReport) -> Table:
    """Whose every layer is; in brackets the image that a layer belongs to without being in its chain (made for it, or on top of it)."""
    table = Table(box=None, pad_edge=False)
    for name in ("directory", "layer", "images", "containers", "pods"):
        table.add_column(name, overflow="fold")
    for row in whose(store.survey):
        images = [name for names in row.images.values() for name in names] or list(row.images)
        if not images and row.owner.container_image_name:
            images = [f"({row.owner.container_image_name})"]
        directory = f"{row.directory or '-'}{' (gone)' if row.directory and not row.path else ''}"
        cells = (directory, row.layer or "(no record)", *map(" ".join, (images, [node.id for node in row.containers], row.pods)))
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _finding(store: StoreReport, finding: Finding) -> Iterator[Text]:
    head = Text()
    head.append(finding.severity, style=_STYLES[finding.severity])
    head.append(f"  {finding.code}", style="bold")
    head.append(f"  {finding.subject_kind} {printable(finding.subject)}")
    if finding.read_only:
        head.append("  (read-only store)")
    facts = [f"in {printable(store.survey.root)}" + (f": {printable(finding.path)}" if finding.path else "")]
    if finding.bytes is not None:
        facts.append(f"holds {human_bytes(finding.bytes)}")
    if finding.since is not None and finding.since.after is not None:
        facts.append(f"began after {iso(finding.since.after)}")
    owner = [f"{name.removeprefix('k8s_').replace('_', ' ')} {printable(value)}" for name, value in finding.attribution().items()]
    yield head
    yield Text(f"  {printable(finding.message)}")
    yield Text(f"  {'; '.join(facts)}", style="dim")
    if owner:
        yield Text(f"  belongs to {', '.join(owner)}", style="dim")
    yield Text(f"  {printable(finding.advice)}", style="green")


def _compared(store: StoreReport) -> Text | None:
    """Say how much of a store's contents was compared, where that was asked for."""
    if store.contents is None:
        return None
    coverage = store.contents.coverage
    text = f"{printable(store.survey.root)}: files of {coverage['compared']} of {coverage['layers']} image layers compared"
    reasons = "; ".join(f"{count}: {reason}" for reason, count in coverage["not_compared"].items())
    return Text(text + (f" (not compared: {reasons})" if reasons else ""), style="dim")


def _summary(report: CheckReport) -> Text:
    count = sum(len(store.diagnosis.findings) for store in report.stores)
    noun = "finding" if count == 1 else "findings"
    text = Text(f"{count} {noun}" if count else "No findings.", style="bold" if count else "green")
    withheld = report.withheld
    if withheld:
        codes = ", ".join(sorted({item.code for item in withheld}))
        due = min((item.until for item in withheld if item.until is not None), default=None)
        when = f", the next is due {iso(due)}" if due is not None else ""
        text.append(f"\n{len(withheld)} held back as too young ({codes}){when}; --min-age 0 shows them.", style="dim")
    return text
