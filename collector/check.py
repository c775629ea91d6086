"""``linktrail check``: look at stores once, without history, and say what leaks and what is broken.

Each root is read by the driver that knows it; what cannot be read is an entry of ``errors`` and the others are still answered. The
read-only image stores that a store uses are read too: for what they hold, and for their own breaks. A machine's own store uses those that
its storage.conf names; any other root only those that were named (a dead disk's store has nothing to do with this machine).
"""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from collector.findings import Contents, Diagnosis, Finding, Withheld, worst_first
from collector.links import Link, LinkKind, LinkState, Problem, Survey
from collector.mounts.machine import Machine, Seen, usual_proc, with_seen
from collector.second_look import Terms, look
from collector.stores import driver_for, identity_of, is_of_this_machine
from collector.stores.containers_storage import additional_stores as configured_stores
from collector.stores.protocol import Driver, Progress, no_progress
from collector.whose import whose
from linktrail.clock import Clock, iso
from linktrail.errors import (
    EXIT_FINDINGS,
    EXIT_OK,
    LinktrailError,
    MalformedError,
    NoStoreError,
    PartUnreadableError,
    StoreUnreadableError,
    UsageError,
)
from linktrail.text import column_text

DOCUMENT_VERSION: Final = 1
CONFIGURATIONS: Final = (Path("/usr/share/containers/storage.conf"), Path("/etc/containers/storage.conf"))
ERROR_LIMIT: Final = 100
_CONTENTS: Final = "collector.contents"

ContentsReader = Callable[[Survey, Sequence[Survey], Progress], Contents]
"""Compares the files of every layer of a store with its records: (survey, surveys of additional stores, progress) -> what came of it."""


@dataclass(frozen=True, slots=True)
class StoreReport:
    """One store that was looked at."""

    survey: Survey
    diagnosis: Diagnosis
    mounts: Seen = field(default_factory=Seen)
    contents: Contents | None = None  # None: not asked for

    def document(self) -> dict[str, Any]:
        """Return the entry of ``stores``."""
        counts = Counter(link.kind for link in self.survey.links.values())
        return {
            "kind": self.survey.kind.value,
            "root": column_text(self.survey.root),
            "read_only": self.survey.read_only,
            "layers": len({link.subject for link in self.survey.of_kind(LinkKind.LAYER_RECORD)}),  # containerd keeps two records of each
            "layer_directories": counts[LinkKind.LAYER_DIRECTORY],
            "images": counts[LinkKind.IMAGE_RECORD],
            "containers": counts[LinkKind.CONTAINER_RECORD],
            "mounts": self.mounts.document(),
            "findings": len(self.diagnosis.findings),
            **({"contents": dict(self.contents.coverage)} if self.contents is not None else {}),
            "read_at": iso(self.survey.finished),
        }


@dataclass(slots=True)
class CheckReport:
    """What a check found: stores in the order named (additional ones last), findings worst first, errors."""

    stores: list[StoreReport] = field(default_factory=list)
    errors: list[LinktrailError] = field(default_factory=list)
    hidden_errors: int = 0

    @property
    def findings(self) -> list[tuple[StoreReport, Finding]]:
        """All findings with their stores, worst first."""
        found = [(store, finding) for store in self.stores for finding in store.diagnosis.findings]
        return sorted(found, key=lambda pair: worst_first(pair[1]))

    @property
    def withheld(self) -> list[Withheld]:
        """Everything that is no finding yet."""
        return [item for store in self.stores for item in store.diagnosis.withheld]

    @property
    def exit_code(self) -> int:
        """10: none of the roots is a store; 1: something could not be read; 4: findings; 0: healthy."""
        if not self.stores and self.errors and all(isinstance(error, NoStoreError) for error in self.errors):
            return NoStoreError.exit_code
        if self.errors:
            return LinktrailError.exit_code
        return EXIT_FINDINGS if any(store.diagnosis.findings for store in self.stores) else EXIT_OK

    def document(self, *, owners: bool = False) -> dict[str, Any]:
        """Return the document that ``--json`` prints (DESIGN section 3), JSON-able as it is; with ``owners``, every layer's too."""
        withheld = self.withheld
        due = min((item.until for item in withheld if item.until is not None), default=None)
        return {
            "schema": DOCUMENT_VERSION,
            "stores": [
                {**store.document(), **({"whose": [row.document() for row in whose(store.survey)]} if owners else {})}
                for store in self.stores
            ],
            "findings": [finding.document(store.survey.root) for store, finding in self.findings],
            "withheld": {"count": len(withheld), "codes": dict(Counter(item.code for item in withheld)), "next_due": iso(due)},
            "errors": [error.document() for error in self.errors],
            **({"errors_not_listed": self.hidden_errors} if self.hidden_errors else {}),
        }


def run_check(
    roots: Sequence[Path],
    *,
    contents: bool = False,
    all_links: bool = False,
    min_age: float | None = None,
    additional_stores: Sequence[Path] = (),
    clock: Clock,
    progress: Progress = no_progress,
    configurations: Sequence[Path] = CONFIGURATIONS,
    proc: Path | None = None,
) -> CheckReport:
    """Look at the stores at ``roots``.

    ``min_age`` (seconds) replaces every grace period, ``contents`` compares files too (``all_links``: and names every link that leads
    nowhere), ``additional_stores`` are read-only image stores that all of them use. ``proc`` is where mounts and open files are read
    (default: as ``usual_proc`` says; ``OFF``: nowhere). With a single root its error is raised (``NoStoreError``,
    ``StoreUnreadableError``, ``StoreUnstableError``); with several it stands in the report.
    """
    reader = contents_reader(all_links=all_links) if contents else None
    check = _Check(reader, min_age, clock, progress, Machine(proc or usual_proc(), clock))
    unique = {identity_of(root) or root: root for root in reversed(roots)}
    for root in reversed(unique.values()):
        try:
            check.store(root, [*additional_stores, *configured_for(root, configurations)])
        except LinktrailError as error:
            if len(unique) == 1:
                raise
            check.report.errors.append(error)
    return check.finished()


def contents_reader(*, all_links: bool = False) -> ContentsReader:
    """Load the reader of layer contents. Raises ``UsageError`` when this installation has none."""
    try:
        reader: ContentsReader = partial(importlib.import_module(_CONTENTS).check_contents, all_links=all_links)
    except ModuleNotFoundError as error:
        if error.name != _CONTENTS:
            raise
        raise UsageError(what="--contents: this installation of linktrail cannot compare contents") from error
    return reader


class _Check:
    """One run over several roots; additional stores are read once and stand after the others in the report."""

    def __init__(self, contents: ContentsReader | None, min_age: float | None, clock: Clock, progress: Progress, machine: Machine) -> None:
        self.report = CheckReport()
        self.machine = machine
        self.contents = contents
        self.min_age = min_age
        self.clock = clock
        self.progress = progress
        self._additional: dict[str, StoreReport | None] = {}  # by real path; None: it could not be read

    def store(self, root: Path, additional: Sequence[Path]) -> None:
        """Read and diagnose one store."""
        driver = driver_at(root)
        used = {os.path.realpath(path): path for path in additional if os.path.realpath(path) != os.path.realpath(root)}
        reports = {path: self._read_additional(real, path) for real, path in used.items()}
        links = [
            Link(LinkKind.ADDITIONAL_STORE, os.fspath(root), str(number), report.survey.root if report else os.fspath(path))
            for number, (path, report) in enumerate(reports.items())
        ]

        def read() -> Survey:
            survey = driver.survey(root, clock=self.clock, progress=self.progress)
            return replace(survey, links=MappingProxyType({**survey.links, **{link.key: link for link in links}}))

        self.report.stores.append(self._look(read, [report.survey for report in reports.values() if report is not None]))

    def finished(self) -> CheckReport:
        """Return the report, complete."""
        self.report.stores += [report for report in self._additional.values() if report is not None]
        return self.report

    def _read_additional(self, real: str, path: Path) -> StoreReport | None:
        if real not in self._additional:
            self._additional[real] = None
            try:
                driver = driver_at(path)
                self._additional[real] = self._look(
                    lambda: replace(driver.survey(path, clock=self.clock, progress=self.progress), read_only=True), ()
                )
            except LinktrailError as error:
                self.report.errors.append(error)
        return self._additional[real]

    def _look(self, read: Callable[[], Survey], additional: Sequence[Survey]) -> StoreReport:
        seen = Seen()

        def read_with_mounts() -> Survey:
            nonlocal seen
            survey = read()
            seen = self.machine.look(survey)
            return with_seen(survey, seen)

        looked = look(read_with_mounts, Terms(additional, self.min_age, self.clock, self.progress))
        contents = self.contents(looked.survey, additional, self.progress) if self.contents is not None else None
        findings = [*looked.diagnosis.findings, *(_still(contents.findings, read) if contents is not None else ())]
        problems = [*looked.survey.problems, *(contents.problems if contents is not None else ())]
        for error in _unread(looked.survey.root, problems, findings):
            if len(self.report.errors) < ERROR_LIMIT:
                self.report.errors.append(error)
            else:
                self.report.hidden_errors += 1
        diagnosis = Diagnosis(tuple(sorted(findings, key=worst_first)), looked.diagnosis.withheld)
        return StoreReport(looked.survey, diagnosis, seen, contents)


def driver_at(root: Path) -> Driver:
    """Return the driver that knows the store at ``root``. Raises ``NoStoreError``, ``StoreUnreadableError``."""
    driver = driver_for(root)
    if driver is not None:
        return driver
    try:
        os.listdir(root)  # noqa: PTH208 - only to learn why
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoStoreError(root=root, what=(error.strerror or "").lower()) from error
    except OSError as error:
        raise StoreUnreadableError(root=root, what=(error.strerror or str(error)).lower()) from error
    except ValueError as error:  # a null byte
        raise NoStoreError(root=root, what=error) from error
    raise NoStoreError(root=root, what="its layout is none that linktrail knows")


def configured_for(root: Path, configurations: Sequence[Path]) -> list[Path]:
    """Return the additional stores that this machine's configuration gives to ``root``, if it is a store of this machine."""
    if not is_of_this_machine(root):
        return []
    try:
        found = configured_stores(root, configurations)
    except OSError as error:
        raise MalformedError(root=root, path="storage.conf", what=error) from error
    return [path for path in found if path.is_dir()]


def _still(findings: Sequence[Finding], read: Callable[[], Survey]) -> Iterator[Finding]:
    """Yield what contents say about layers that are still recorded as they were: one removed meanwhile loses its files one by one."""
    if not findings:
        return
    now = {link.subject for link in read().of_kind(LinkKind.LAYER_RECORD) if link.state is LinkState.PRESENT}
    yield from (finding for finding in findings if finding.subject_kind != "layer" or finding.subject in now)


def _unread(root: str, problems: Sequence[Problem], findings: Sequence[Finding]) -> Iterator[LinktrailError]:
    """Yield what could not be read, unless a finding already speaks of it."""
    said = {finding.path for finding in findings}
    for problem in problems:
        if problem.path not in said:
            yield PartUnreadableError(root=root, path=problem.path, what=problem.what)
