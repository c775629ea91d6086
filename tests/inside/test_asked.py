"""What was recorded inside of layers, asked of the lake by path and instant."""

from __future__ import annotations

from pathlib import Path

from linktrail.values import records
from processor.lake import Lake
from processor.pipeline import Processor
from processor.spool_intake import SpoolIntake
from queries.answers.about import asked
from queries.engine import open_lake
from tests.inside.test_rules import CONTAINER, UPPER, DeepWatcher, add_container
from tests.recorder.playground import layer_id
from tests.recorder.support import QuickFileSystem, Rig


def test_what_a_path_was_at_an_instant(tmp_path: Path) -> None:
    """A link on the way to the path, where it led then, in whose container, and since when; afterwards it is a directory: no link."""
    rig = Rig(tmp_path)
    add_container(rig)
    etc = rig.store.root / UPPER / "etc"
    etc.mkdir()
    (etc / "pki").symlink_to("../usr/pki")
    rig.start(watcher=DeepWatcher(rig.clock))
    rig.settle()
    first = rig.clock.now().wall
    (etc / "pki").unlink()
    (etc / "pki").symlink_to("../srv/pki")
    after, before = rig.event("created", f"{UPPER}/etc/pki")
    rig.settle()
    second = rig.clock.now().wall
    (etc / "pki").unlink()
    (etc / "pki").mkdir()
    rig.event("created", f"{UPPER}/etc/pki", directory=True)
    rig.settle()
    rig.recorder.outbox.seal()
    lake, filesystem = tmp_path / "lake", QuickFileSystem()
    Processor(
        SpoolIntake(tmp_path / "state/spool", filesystem=filesystem), Lake.open_for_writing(lake, filesystem=filesystem), clock=rig.clock
    ).drain()
    with open_lake(lake) as engine:

        def told(path: str, at: int) -> list[tuple[object, ...]]:
            answer = asked(engine, "inside", {"path": path, "at": at}, clock=rig.clock)
            return [(row["path"], row["kind"], row["target"], row["container_name"], row["layer_id"]) for row in records(answer.rows)]

        layer = layer_id(CONTAINER)
        assert told("/etc/pki", first) == [("/etc/pki", "symlink", "../usr/pki", "one", layer)]
        assert told("etc/pki/ca/root.pem", second) == [("/etc/pki", "symlink", "../srv/pki", "one", layer)]
        assert told("/etc/pkix", second) == []
        assert told("/etc/pki", rig.clock.now().wall) == []
        (row,) = engine.rows(
            "SELECT epoch_ns(occurred_after) AS a, epoch_ns(occurred_before) AS b FROM links_at(make_timestamptz($at // 1000)) "
            "WHERE link_kind = 'symlink'",
            {"at": second},
        )
        assert row["a"] <= after
        assert before <= row["b"] + 1000
