"""``linktrail demo``: an incident on a small store, recorded by the real collector and processor while it happens, and then explained.

The store is made in a temporary directory, file by file as podman writes it (``linktrail.testing.containers_storage``), so no engine and no
root is needed. It lives through what people meet: a pull killed in the middle, a link lost, a writable layer that grows, and a look
with the engine that deletes the evidence. It goes at the pace of the recorder (``demo_store``), so the record has no gap, however busy
the machine is. The collector runs in a thread of this process with shortened waiting times (they are said in the output); the
processor commits its batches to a lake, and every sentence about the record is read from that lake.

Names and ids are the same in every run; only times differ. It ends by itself after about 15 seconds.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

from collector.live import read_status
from collector.program import Options, collect
from collector.settings import Settings
from linktrail.clock import NANOSECONDS, Clock, SystemClock, iso
from linktrail.errors import LinktrailError
from linktrail.output import Format, write_output
from linktrail.sizes import human_bytes
from linktrail.state import State
from linktrail.testing.containers_storage import finish, layer_ids
from linktrail.text import printable
from processor.program import drain
from queries.answers.findings import findings_at
from queries.answers.timeline import happened_to
from queries.demo_store import Images, Paced
from queries.engine import open_lake
from queries.live_view import OPEN_FINDINGS

GRACE_SECONDS: Final = 2.0
SAMPLE_SECONDS: Final = 1.0
QUIET_SECONDS: Final = 0.02
PATIENCE_SECONDS: Final = 30.0
_MEBIBYTE: Final = 1 << 20
_LONG_ID: Final = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
_OPENED: Final = """
    SELECT 1 FROM findings WHERE action = 'opened' AND list_contains($wanted, code || ' ' || subject) HAVING count(DISTINCT code) = $count
"""
_GROWTH: Final = """
    SELECT min(bytes) AS least, max(bytes) AS most, date_diff('millisecond', min(occurred_before), max(occurred_before)) / 1000 AS seconds,
        any_value(container_name) AS owner
    FROM usage WHERE scope = 'layer' AND subject = $id
"""


def play(out: TextIO, *, directory: Path | None = None, clock: Clock | None = None) -> int:
    """Play the incident in ``directory`` (default: a new temporary one, which is left for a further look) and tell it on ``out``.

    Returns 0. Raises ``LinktrailError`` when recording fails or the record does not show what happened.
    """
    where = directory or Path(tempfile.mkdtemp(prefix="linktrail-demo-"))
    _Demo(out, where, clock or SystemClock()).play()
    return 0


class _Demo:
    """One run."""

    def __init__(self, out: TextIO, where: Path, clock: Clock) -> None:
        self.out = out
        self.where = where
        self.clock = clock
        self.state = State(where / "state")
        self.store = where / "store"
        self.builder = Paced(self.store, clock=clock, seed=1, read=self._wait_until_read)
        self.recording = False
        self.images = Images.make()
        self.started = clock.now()
        self.before_the_look = ""
        self.failures: list[BaseException] = []  # of the collector's thread

    # --- the story ------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Play all of it."""
        self._introduce()
        with self._recorded():
            self._work()
            killed, below = self._kill_a_pull()
            self._lose_a_link()
            web = self._grow()
            self._name_damage(killed, below)
            self._look_with_the_engine(killed)
        drain(self.state, self.state.lake)
        self._conclude(killed, below, web)

    def _introduce(self) -> None:
        self._say("An incident on a small container store, recorded as it happens. It takes about 15 seconds.")
        self._say(f"  store   {self.store}   (made now, in the layout of podman and CRI-O)")
        self._say(f"  record  {self.state.path}")
        self._say(f"Shortened for the demo: a leak is reported after {GRACE_SECONDS:g} s (normally 10 min to 24 h), and sizes are measured")
        self._say(
            f"every {SAMPLE_SECONDS:g} s (normally every 5 min). The store is read {1000 * QUIET_SECONDS:.0f} ms after a change (normally"
        )
        self._say("100 ms to 0.8 s), and goes on when it was read.")
        self._say()
        finish(self.builder.pull("localhost/shop:1", self.images.shop))
        finish(self.builder.create("localhost/shop:1", "web"))
        finish(self.builder.start("web"))
        self._tell("The store holds the image localhost/shop:1 (3 layers) and the running container 'web'.")

    def _work(self) -> None:
        counts = self._ask("SELECT count(*) AS links FROM links WHERE origin = 'baseline'")[0]
        self._tell(f"linktrail records: it read the store once ({counts['links']} links, the baseline) and watches it from now on.")
        finish(self.builder.pull("localhost/job:1", self.images.job))
        finish(self.builder.create("localhost/job:1", "nightly", pod=("batch", "nightly-28")))
        self.clock.sleep(0.4)
        finish(self.builder.remove_container(self._container("nightly")))
        finish(self.builder.remove_image("localhost/job:1"))
        self._tell("Ordinary work: localhost/job:1 was pulled, pod batch/nightly-28 ran on it, both were removed again.")

    def _kill_a_pull(self) -> tuple[str, str]:
        _, below, killed = layer_ids(self.images.big)
        pull = self.builder.pull("localhost/big:1", self.images.big)
        while self._size(killed) < 3 * _MEBIBYTE:
            step = next(pull)
            if step.subject == killed and step.name == "layer-entry":
                self.clock.sleep(0.005)
        pull.close()
        self._tell("INCIDENT: the pull of localhost/big:1 was killed (-9) in its third layer, 3 MB into it.")
        return killed, below

    def _lose_a_link(self) -> None:
        lost = self.builder.damage.lose_short_link(layer_ids(self.images.shop)[2])
        self._tell(f"INCIDENT: the link {lost} was lost, as after a crash. 'web' runs on; its next start will fail.")

    def _grow(self) -> str:
        for _ in range(5):
            finish(self.builder.write("web", "var/log/shop.log", 2 * _MEBIBYTE))
            self.clock.sleep(0.5)
        self._tell("INCIDENT: 'web' wrote 10 MB of log into its writable layer.")
        return str(self.builder.container("web")["layer"])

    def _name_damage(self, killed: str, below: str) -> None:
        expected = {"incomplete-layer": killed, "unreferenced-layer": below, "short-link-missing": layer_ids(self.images.shop)[2]}
        wanted = [f"{code} {subject}" for code, subject in expected.items()]  # on a slow machine, ordinary work takes longer than the grace
        self._wait("three findings", _OPENED, wanted=wanted, count=len(wanted))
        self._wait("the size of the killed pull", "FROM findings WHERE subject = $id AND bytes > 0", id=killed)
        found = {finding["code"]: finding for finding in self._rows(OPEN_FINDINGS)}
        for code, subject in expected.items():
            if code not in found or found[code]["subject"] != subject:
                raise LinktrailError(what=f"The demo expected the finding {code} of {subject}, and the record has {sorted(found)}")
            self._tell(f"linktrail: {found[code]['severity']} {code} {subject[:12]}, {_since(found[code])}")

    def _look_with_the_engine(self, killed: str) -> None:
        self.before_the_look = iso(self.clock.now().wall) or ""
        finish(self.builder.open_store())
        self._tell("Someone runs 'podman images'. On opening the store the engine deletes the unfinished layer: the evidence is gone.")
        self._wait("the removal", "FROM findings WHERE action = 'closed' AND subject = $id", id=killed)

    def _conclude(self, killed: str, below: str, web: str) -> None:
        with open_lake(self.state.lake) as lake:
            found = findings_at(lake, clock=self.clock)
            life = happened_to(lake, killed, clock=self.clock)
            [growth] = lake.rows(_GROWTH, {"id": web})
        self._say()
        self._say("What is wrong now (linktrail findings):")
        write_output(found.sheets, Format.TABLE, {}, stream=self.out)
        self._say()
        self._say(f"No engine can tell any more what layer {killed[:12]} was. The record can (linktrail timeline {killed[:12]}):")
        for row in life.rows.to_pylist():
            self._say(f"  {_instant(row['after'], row['before'])}  {_brief(row['happened'])}")
        for line in life.completeness.lines():
            self._say(f"  {printable(line)}")
        self._say()
        grown = f"from {human_bytes(growth['least'])} to {human_bytes(growth['most'])} in {growth['seconds']:.0f} s"
        self._say(f"What grew (linktrail usage): the writable layer of '{growth['owner']}', {grown}.")
        self._say()
        self._look_further(below)

    def _look_further(self, below: str) -> None:
        gone = "SELECT DISTINCT k8s_namespace_name, k8s_pod_name, layer_id FROM links WHERE k8s_pod_name IS NOT NULL"
        kinds = "SELECT link_kind, action, count(*) FROM links GROUP BY ALL ORDER BY 3 DESC"
        self._say("Look further:")
        self._say(f"  export LINKTRAIL_STATE={self.state.path}")
        self._say(f"  linktrail findings --at {self.before_the_look}    # as things stood before anybody looked")
        self._say(f"  linktrail timeline {below[:12]}    # what the killed pull left for ever")
        self._say("  linktrail query growth    # what grew, and by how much")
        self._say(f'  linktrail sql "{gone}"    # whose layers are gone')
        self._say(f'  linktrail sql "{kinds}"    # what changed how often')
        open_first = "" if os.geteuid() == 0 else f"chmod -R u+rwX {self.where}; "
        self._say(f"Remove it all: {open_first}rm -rf {self.where}")

    # --- recording ------------------------------------------------------------------------------------------------

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """Run the collector in a thread while inside; what it raised is raised where something is awaited, or in the end."""
        settings = Settings(min_age=GRACE_SECONDS, sample_interval=SAMPLE_SECONDS, quiet=QUIET_SECONDS, status_interval=QUIET_SECONDS)
        options = Options(node="demo", settings=settings)
        stop = threading.Event()

        def run() -> None:
            try:
                collect([self.store], self.state.path, options, clock=self.clock, stop=stop)
            except BaseException as error:  # noqa: BLE001 - raised again where it is seen
                self.failures.append(error)

        thread = threading.Thread(target=run, name="collector")
        thread.start()
        try:
            self._until("the first reading", self._has_read)
            self.recording = True
            yield
        finally:
            self.recording = False
            stop.set()
            thread.join()
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self.failures:
            raise self.failures[0]

    def _has_read(self) -> bool:
        status = read_status(self.state.path)
        return status is not None and any(store.read_at for store in status.stores)

    def _wait_until_read(self) -> None:
        """Wait until nothing that happened before now is missing from what was read."""
        written = self.clock.now().wall
        if self.recording:
            self._until("a reading", lambda: self._complete_until(written), pause=QUIET_SECONDS)

    def _complete_until(self, instant: int) -> bool:
        status = read_status(self.state.path)
        return status is not None and any((store.vouched or 0) > instant for store in status.stores)

    def _wait(self, what: str, sql: str, **parameters: object) -> None:
        self._until(what, lambda: bool(self._ask(sql, **parameters)))

    def _until(self, what: str, condition: Callable[[], bool], pause: float = 0.2) -> None:
        deadline = self.clock.now().monotonic + round(PATIENCE_SECONDS * NANOSECONDS)
        while not condition():
            self._raise_failure()
            if self.clock.now().monotonic > deadline:
                raise LinktrailError(what=f"The demo waited {PATIENCE_SECONDS:g} s for {what}, and the record does not show it")
            self.clock.sleep(pause)

    def _ask(self, sql: str, **parameters: object) -> Sequence[dict[str, Any]]:
        """Bring what is sealed into the lake and return the rows of ``sql``."""
        drain(self.state, self.state.lake, clock=self.clock)
        return self._rows(sql, **parameters)

    def _rows(self, sql: str, **parameters: object) -> Sequence[dict[str, Any]]:
        with open_lake(self.state.lake) as engine:
            return engine.rows(sql, parameters)

    # --- telling --------------------------------------------------------------------------------------------------

    def _container(self, name: str) -> str:
        files = ("overlay-containers/volatile-containers.json", "overlay-containers/containers.json")
        return next(str(record["id"]) for record in self.builder.records(*files) if any(name in known for known in record["names"]))

    def _size(self, layer: str) -> int:
        content = self.store / "overlay" / layer / "diff"
        return sum(path.stat().st_size for path in content.rglob("part-*"))

    def _tell(self, text: str) -> None:
        passed = (self.clock.now().monotonic - self.started.monotonic) / NANOSECONDS
        self._say(f"{passed:5.1f} s  {text}")

    def _say(self, text: str = "") -> None:
        self.out.write(text + "\n")
        self.out.flush()


def _since(finding: dict[str, Any]) -> str:
    size = "" if finding["bytes"] is None else f", {human_bytes(finding['bytes'])}"
    after, before = finding["since_after"], finding["since_before"]
    if after is None:
        return f"since before {before:%H:%M:%S}{size}"
    return f"since {after:%H:%M:%S.%f} (known to {_milliseconds(after, before)} ms){size}"


def _instant(after: datetime | None, before: datetime) -> str:
    """Return an interval as its beginning and its width."""
    if after is None:
        return f"before {before:%H:%M:%S.%f}    "
    return f"{after:%H:%M:%S.%f} +{_milliseconds(after, before):>5} ms"


def _milliseconds(after: datetime, before: datetime) -> int:
    return math.ceil((before - after).total_seconds() * 1000)


def _brief(text: str) -> str:
    """Return a line of the timeline with ids as short as engines print them."""
    return _LONG_ID.sub(r"\1", printable(text))
