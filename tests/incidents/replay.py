"""What the replays share: a store in time, recorded by the real collector, and the questions that are asked of the record afterwards.

A scene has a clock that only the replay moves. What changes in the store gets the clock's time as its modification time, so that the
record sees the incident when the replay says that it happened. ``Scene.record`` runs the whole way: collector, spool, processor, lake.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from collector.mounts.machine import OFF
from collector.program import Options, collect
from collector.settings import Settings
from linktrail.clock import NANOSECONDS
from linktrail.testing.clock import FakeClock
from linktrail.values import records
from processor.lake import Lake
from processor.pipeline import Processor
from processor.spool_intake import SpoolIntake
from queries.answer import Answer
from queries.answers.about import asked, asked_about
from queries.answers.deletion import can_delete
from queries.answers.findings import findings_at
from queries.answers.repair import repair_plan
from queries.answers.timeline import happened_to
from queries.answers.usage import usage_at
from queries.answers.why import held
from queries.engine import Engine, open_lake
from tests.recorder.support import QuickFileSystem

Row = Mapping[str, Any]
MINUTE = 60.0
HOUR = 3600.0
DAY = 86_400.0


class Scene:
    """A store below ``root`` whose history is being made, from ten days ago on."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self.root = where / "store"
        self.lake = where / "lake"
        self.clock = FakeClock(time.time_ns() // NANOSECONDS * NANOSECONDS - round(10 * DAY * NANOSECONDS))
        self.boots = 0
        self.proc = OFF  # a replay that needs mounts or open files says where they are read

    @property
    def now(self) -> int:
        """The instant at which the scene is (ns UTC)."""
        return self.clock.now().wall

    def wait(self, seconds: float) -> int:
        """Let time pass; return the new instant."""
        self._date()
        self.clock.advance(seconds)
        return self.now

    def crash(self) -> None:
        """Let the machine lose power and start again a minute later."""
        self.wait(MINUTE)
        self.boots += 1
        self.clock.boot_id = f"00000000-0000-4000-8000-{self.boots:012}"

    def record(self, *, min_age: float = 0) -> int:
        """Read the store into the record as it stands; return the instant."""
        self._date()
        self.clock.advance(1)
        began = self.now
        options = Options(once=True, node="node-7", settings=Settings(min_age=min_age), proc=self.proc)
        assert collect([self.root], self.where / "state", options, clock=self.clock, filesystem=QuickFileSystem()) == 0
        self.clock.advance(1)
        return began

    def break_in(self, change: Callable[[], object], *, after: float = HOUR) -> Broken:
        """Record the store, let ``change`` happen an hour later, and record it twice more (breaks are confirmed)."""
        healthy = self.record()
        self.wait(after)
        happened = self.now
        change()
        self._date()
        self.wait(MINUTE)
        first = self.record()
        self.wait(HOUR / 2)
        self.record()
        return Broken(healthy, happened, first)

    def _date(self) -> None:
        """Date everything that was changed since the last call to now."""
        limit = self.now
        for where, _, files in os.walk(self.root):
            for name in (where, *(os.path.join(where, file) for file in files)):  # noqa: PTH118 - thousands of plain names
                if os.lstat(name).st_mtime_ns > limit:
                    os.utime(name, ns=(limit, limit), follow_symlinks=False)

    @contextmanager
    def asking(self) -> Iterator[Questions]:
        """Bring what was recorded into the lake and yield what can be asked of it, now in the scene."""
        filesystem = QuickFileSystem()
        lake = Lake.open_for_writing(self.lake, filesystem=filesystem)
        Processor(SpoolIntake(self.where / "state/spool", filesystem=filesystem), lake, clock=self.clock).drain()
        with open_lake(self.lake) as engine:
            yield Questions(engine, self.clock)


@dataclass(frozen=True, slots=True)
class Broken:
    """When the store was last seen whole, when the change ``happened``, and when it was first seen (ns UTC)."""

    healthy: int
    happened: int
    seen: int


_AT: Mapping[str, Callable[..., Answer]] = {"findings": findings_at, "usage": usage_at}
_ABOUT_AT: Mapping[str, Callable[..., Answer]] = {"why": held, "can-delete": can_delete, "repair-plan": repair_plan}


class Questions:
    """The verbs of ``linktrail``, asked in the present of a scene."""

    def __init__(self, engine: Engine, clock: FakeClock) -> None:
        self.engine = engine
        self.clock = clock

    def ask(self, verb: str, subject: str = "", *, at: int | None = None, **values: object) -> Answer:
        """Return the answer to ``linktrail VERB SUBJECT`` at an instant (default: now), or to the question of the catalog named so."""
        if at is not None and verb not in (*_AT, *_ABOUT_AT):
            values["at"] = at
        at = self.clock.now().wall if at is None else at
        if verb in _AT:
            return _AT[verb](self.engine, at=at, clock=self.clock)
        if verb in _ABOUT_AT:
            return _ABOUT_AT[verb](self.engine, subject, at=at, clock=self.clock)
        if verb == "timeline":
            return happened_to(self.engine, subject, clock=self.clock)
        if subject:
            return asked_about(self.engine, verb, subject, values, clock=self.clock)
        return asked(self.engine, verb, values, clock=self.clock)


@dataclass(frozen=True, slots=True)
class Ask:
    """A further question and the words that its answer must hold, each of them in the same row where ``together``.

    With ``when``, that row (of a timeline) must bound the change by the readings around it. With ``nothing`` the answer must have no row.
    """

    verb: str
    subject: str = ""
    words: Sequence[str] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    together: bool = False
    when: Broken | None = None
    nothing: bool = False


@dataclass(frozen=True, slots=True)
class Says:
    """What the answers must say of an incident.

    The finding ``code`` of ``subject`` with ``words`` in what it says; that it began within ``when``; ``owner`` in its columns or in
    ``whois``; ``bytes`` that it holds. ``asks`` are further questions. The instant is the present of the scene, or ``at``. Without a
    ``code`` the store is healthy, and every answer must leave it at that.
    """

    code: str | None
    subject: str = ""
    words: Sequence[str] = ()
    when: Broken | None = None
    owner: str = ""
    bytes: int | None = None
    asks: Sequence[Ask] = ()
    at: int | None = None


def check(scene: Scene, says: Says) -> None:
    """Ask everything and compare."""
    with scene.asking() as questions:
        found = list(records(questions.ask("findings", at=says.at).rows, ("related", "evidence")))
        if says.code is None:
            assert found == []
        else:
            check_finding(questions, says, found)
        for ask in says.asks:
            check_ask(questions, ask)


def check_finding(questions: Questions, says: Says, found: Sequence[Row]) -> None:
    """Look for the finding among ``found`` and for what it must say."""
    mine = [row for row in found if (row["code"], row["subject"]) == (says.code, says.subject)]
    assert len(mine) == 1, f"no finding {says.code} of {says.subject} in {[(row['code'], row['subject'], row['message']) for row in found]}"
    finding = mine[0]
    _holds(finding, says.words)
    if says.when is not None:
        within(questions, says, says.when)
    if says.owner:
        of_it = " ".join(str(value) for name, value in finding.items() if name.startswith(("k8s", "container")))
        assert says.owner in of_it or says.owner in told(questions.ask("whois", says.subject)), finding
    if says.bytes is not None:
        assert finding["bytes"] == says.bytes, finding


def within(questions: Questions, says: Says, when: Broken) -> None:
    """Check the interval in which the damage began: the truth is in it, and it is no wider than the two readings around it."""
    row = questions.engine.rows(
        "SELECT epoch_ns(since_after) AS after, epoch_ns(since_before) AS before FROM findings WHERE code = $code AND subject = $subject",
        {"code": says.code, "subject": says.subject},
    )[-1]
    assert row["after"] is not None
    assert when.healthy <= row["after"] <= when.happened <= row["before"] <= when.seen + NANOSECONDS, (when, row)


def check_ask(questions: Questions, ask: Ask) -> None:
    """Ask one more question and look for its words."""
    answer = questions.ask(ask.verb, ask.subject, **ask.values)
    if ask.nothing:
        assert list(records(answer.rows)) == []
        return
    if ask.together or ask.when:
        rows = [row for row in records(answer.rows) if all(word in _text(row) for word in ask.words)]
        assert rows, f"{ask.verb} {ask.subject}: {ask.words} in no row of {[*records(answer.rows)]}"
        if ask.when is not None:
            ends = [(_instant(row["after"]), _instant(row["before"])) for row in rows]
            bounds = ask.when.healthy, ask.when.happened, ask.when.seen
            assert any(bounds[0] <= after <= bounds[1] <= before <= bounds[2] + NANOSECONDS for after, before in ends), (bounds, ends)
        return
    text = told(answer)
    missing = [word for word in ask.words if word not in text]
    assert not missing, f"{ask.verb} {ask.subject}: {missing} not in {text}"


def told(answer: Answer) -> str:
    """Return all that an answer says, as text."""
    rows = [_text(row) for sheet in answer.sheets if sheet.rows is not None for row in records(sheet.rows)]
    return "\n".join([*rows, *answer.lines()])


def _holds(finding: Row, words: Sequence[str]) -> None:
    text = _text(finding)
    missing = [word for word in words if word not in text]
    assert not missing, f"{missing} not in {text}"


def _text(row: Row) -> str:
    return json.dumps(row, default=str, ensure_ascii=False)


def _instant(text: str | None) -> int:
    return 0 if text is None else round(datetime.fromisoformat(text).timestamp() * 1e6) * 1000


def allocated(*trees: Path) -> int:
    """Return what ``du`` says of trees without hard links among them: allocated bytes, directories included."""
    total = 0
    for tree in trees:
        for where, names, files in os.walk(tree):
            links = [name for name in names if Path(where, name).is_symlink()]
            total += Path(where).lstat().st_blocks * 512 + sum(Path(where, name).lstat().st_blocks * 512 for name in (*files, *links))
    return total
