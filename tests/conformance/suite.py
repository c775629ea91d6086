"""One suite for all store kinds: each planted damage is named by code and subject, nothing else is, and healthy stores are silent.

A store kind has a ``Table``: the specification, one row a fixture. ``class TestX(Suite): table = TABLE`` runs the suite over it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

from collector.check import CheckReport, run_check
from linktrail.clock import NANOSECONDS
from linktrail.testing.clock import FakeClock
from tests.needs import need
from tests.stores import FIXTURES, unpack

LATER: Final = 1_795_780_800 * NANOSECONDS  # 2026-11-27, three days after the fixtures were made: every grace period is over

Expected = set[tuple[str, str]]
"""Code and subject, the subject as the table shortens it."""


def first_twelve(subject: str) -> str:
    """Shorten an id to the 12 characters that people quote; paths stay whole."""
    return subject if "/" in subject else subject[:12]


@dataclass(frozen=True)
class Table:
    """What is expected of every fixture of one store kind.

    ``family`` is the directory of its damage fixtures, ``engines`` the stores of real engines (``prefix`` is how their names start),
    ``short`` shortens a subject to what stands in the table. ``contents`` is what ``--contents`` finds beside the rest, by fixture.
    """

    family: str
    prefix: str
    damage: Mapping[str, Expected]
    engines: Mapping[str, Expected]
    short: Callable[[str], str] = first_twelve
    contents: Mapping[str, Expected] = field(default_factory=dict)

    def keys(self, report: CheckReport) -> Expected:
        """Return what was found, subjects as in the table."""
        return {(finding.code, self.short(finding.subject)) for _, finding in report.findings}


def check(root: Path, **options: Any) -> CheckReport:
    """Check one store as of three days after it was made."""
    return run_check([root], clock=FakeClock(LATER), **options)


def state_of(root: Path) -> str:
    """Return a digest of every name, type, size, time and link target below ``root``."""
    found = hashlib.sha256()
    for directory, names, files in os.walk(root):
        for name in sorted([*names, *files]):
            path = os.path.join(directory, name)  # noqa: PTH118 - bytes and links as they are
            facts = os.lstat(path)
            target = os.readlink(path) if os.path.islink(path) else ""  # noqa: PTH114, PTH115 - likewise
            found.update(repr((path, facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, target)).encode())
    return found.hexdigest()


class Suite:
    """The tests that every store kind passes; ``conftest`` gives each test the rows of the table."""

    table: ClassVar[Table]

    def test_a_damaged_store(self, damaged: str, tmp_path: Path) -> None:
        """Exactly the planted damage is named, the exit code says so, and the store is as it was."""
        root = unpack(f"{self.table.family}/{damaged}", tmp_path)
        before = state_of(root)
        report = check(root)
        assert self.table.keys(report) == self.table.damage[damaged]
        assert report.exit_code == (4 if self.table.damage[damaged] else 0)
        assert report.document()["errors"] == []
        assert state_of(root) == before

    def test_a_store_of_a_real_engine(self, engine: str, tmp_path: Path) -> None:
        """Healthy stores are silent with every grace period off; of a leaky one every planted thing is named and nothing else."""
        need("fixtures")
        root = unpack(engine, tmp_path)
        report = check(root, min_age=0)
        assert self.table.keys(report) == self.table.engines[engine]
        assert report.exit_code == (4 if self.table.engines[engine] else 0)
        assert self.table.keys(check(root)) == self.table.engines[engine], "after three days every grace period is over"

    def test_with_contents(self, damaged: str, tmp_path: Path) -> None:
        """The damage inside layers is named too, with nothing beside it, and the store is as it was."""
        root = unpack(f"{self.table.family}/{damaged}", tmp_path)
        before = state_of(root)
        report = check(root, contents=True)
        assert self.table.keys(report) == self.table.damage[damaged] | self.table.contents.get(damaged, set())
        assert report.document()["errors"] == []
        assert state_of(root) == before

    def test_with_contents_of_a_real_engine(self, engine: str, tmp_path: Path) -> None:
        """What real engines unpacked is as they recorded it, with all their whiteouts, links, owners and placeholders."""
        need("fixtures")
        report = check(unpack(engine, tmp_path), min_age=0, contents=True)
        assert self.table.keys(report) == self.table.engines[engine] | self.table.contents.get(engine, set())
        (coverage,) = [store["contents"] for store in report.document()["stores"]]
        assert coverage["compared"] > 0

    def test_every_fixture_has_a_row(self) -> None:
        """A new fixture without an expectation is a hole in the table."""
        need("fixtures")
        damage = {path.name.removesuffix(".tar.gz") for path in (FIXTURES / "damage" / self.table.family).glob("*.tar.gz")}
        assert damage == set(self.table.damage)
        engines = {path.name.removesuffix(".tar.xz") for path in (FIXTURES / "engines").glob(f"{self.table.prefix}*.tar.xz")}
        assert engines == set(self.table.engines)


def rows(metafunc: pytest.Metafunc) -> None:
    """Give a test of the suite one run for each row of its table."""
    if metafunc.cls is None or not issubclass(metafunc.cls, Suite):
        return
    for argument, names in (("damaged", metafunc.cls.table.damage), ("engine", metafunc.cls.table.engines)):
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, list(names))


__all__ = ["LATER", "Expected", "Suite", "Table", "check", "first_twelve", "rows", "state_of"]
