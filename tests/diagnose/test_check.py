"""``run_check`` on real trees: several roots, errors, exit codes, the second look, additional stores, the document and the view."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collector.check import CheckReport, run_check
from collector.check_view import progress_on, render
from collector.diagnose import SETTLE_SECONDS
from collector.links import Survey
from collector.second_look import Terms, look
from collector.stores.containers_storage import DRIVER
from collector.stores.protocol import no_progress
from linktrail.clock import NANOSECONDS
from linktrail.errors import NoStoreError, StoreError, UsageError
from linktrail.sizes import human_bytes
from linktrail.testing.clock import FakeClock
from linktrail.testing.containers_storage import Layer, StoreBuilder, finish
from tests.stores import unpack

LATER = 1_795_780_800 * NANOSECONDS  # 2026-11-27
TABLE_KEYS = {"schema", "stores", "findings", "withheld", "errors"}
FINDING_KEYS = {
    *("code", "family", "severity", "store", "subject_kind", "subject", "path", "bytes", "related", "read_only", "since"),
    *("owner", "message", "evidence", "advice"),
}


def check(*roots: Path, **options: Any) -> CheckReport:
    """Check stores as of three days after the fixtures were made."""
    return run_check(roots, clock=FakeClock(LATER), **options)


def codes(report: CheckReport) -> list[str]:
    """Return the codes found, worst first."""
    return [finding.code for _, finding in report.findings]


def test_the_document(tmp_path: Path) -> None:
    """Every field that the document promises, JSON-able as it is, sizes measured for what is held."""
    root = unpack("e09_orphan_driver_dir", tmp_path)
    document = json.loads(json.dumps(check(root).document()))
    assert set(document) == TABLE_KEYS
    assert document["schema"] == 1
    (store,) = document["stores"]
    assert {"kind": "containers_storage", "root": str(root), "layers": 4, "images": 1, "containers": 1}.items() <= store.items()
    (finding,) = document["findings"]
    assert set(finding) == FINDING_KEYS
    assert finding["store"] == str(root)
    assert (finding["code"], finding["family"], finding["severity"]) == ("unaccounted-layer", "leaks", "warning")
    assert finding["path"] == f"overlay/{'d' * 64}"
    held = sum(entry.lstat().st_blocks * 512 for entry in [root / finding["path"], *(root / finding["path"]).rglob("*")])
    assert finding["bytes"] == held > 0


def test_healthy_is_zero_and_silent(tmp_path: Path) -> None:
    """Nothing found, nothing withheld, nothing to say."""
    report = check(unpack("e00_healthy", tmp_path))
    assert report.exit_code == 0
    assert report.document()["findings"] == []
    assert report.document()["withheld"] == {"count": 0, "codes": {}, "next_due": None}


def test_a_single_bad_root_is_its_error(tmp_path: Path) -> None:
    """The command prints what happened, where, and what to do, and exits with the error's own code."""
    for path, what in ((tmp_path / "nothing", "no such file"), (tmp_path, "layout")):
        with pytest.raises(NoStoreError, match=what) as caught:
            check(path)
        assert caught.value.exit_code == 10
        assert caught.value.advice
    (tmp_path / "file").touch()
    with pytest.raises(NoStoreError, match="not a directory"):
        check(tmp_path / "file")


def test_one_bad_root_of_several_leaves_the_others_answered(tmp_path: Path) -> None:
    """The error stands in the document, the findings too, and the exit code says that something could not be read."""
    good = unpack("e02_empty_link_mid", tmp_path)
    report = check(tmp_path / "nothing", good)
    assert codes(report) == ["link-file-empty"]
    assert [error["error"] for error in report.document()["errors"]] == ["NoStoreError"]
    assert report.exit_code == 1
    none = check(tmp_path / "nothing", tmp_path / "neither")
    assert none.exit_code == 10
    assert none.document()["stores"] == []


def test_one_store_under_two_names_is_checked_once(tmp_path: Path) -> None:
    """A link to a root, or the root twice, is the same store."""
    root = unpack("e06_dangling_extra_symlink", tmp_path)
    (tmp_path / "alias").symlink_to(root)
    report = check(root, tmp_path / "alias", root)
    assert codes(report) == ["short-link-dangling"]


def test_a_part_that_cannot_be_read_is_an_error_and_no_finding(tmp_path: Path) -> None:
    """A file in place of l/ hides the short links: that is said, and the links are not called missing."""
    root = unpack("e00_healthy", tmp_path)
    shutil.rmtree(root / "overlay" / "l")
    (root / "overlay" / "l").write_bytes(b"")
    report = check(root)
    (error,) = report.document()["errors"]
    assert error["error"] == "PartUnreadableError"
    assert "overlay/l" in error["message"]
    assert codes(report) == []
    assert report.exit_code == 1


def test_contents_without_a_reader_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation that cannot compare contents says so instead of saying nothing."""
    monkeypatch.setattr("collector.check._CONTENTS", "collector.no_such_reader")
    with pytest.raises(UsageError, match="contents"):
        check(unpack("e00_healthy", tmp_path), contents=True)


def test_contents_are_added(tmp_path: Path) -> None:
    """What is wrong inside layers stands beside the rest, worst first."""
    pytest.importorskip("collector.contents")
    report = check(unpack("e14_zero_length_files", tmp_path), contents=True)
    assert "zero-length-files" in codes(report)
    assert report.exit_code == 4


# --- additional stores ----------------------------------------------------------------------------------------


def shared(tmp_path: Path) -> tuple[StoreBuilder, StoreBuilder]:
    """Return a store with a container on an image that lies in another store, and that other store."""
    image_store = StoreBuilder(tmp_path / "shared")
    image = finish(image_store.pull("localhost/shared:1", [Layer({"bin/app": b"1"}), Layer({"etc/conf": b"2"})]))
    store = StoreBuilder(tmp_path / "own", seed=1)
    shutil.copytree(image_store.root, store.root, symlinks=True, dirs_exist_ok=True)
    finish(store.create(image, "user"))
    for layer in store.chain(str(store.image(image)["layer"])):
        (store.root / "overlay" / "l" / (store.root / "overlay" / layer / "link").read_text()).unlink()
        shutil.rmtree(store.root / "overlay" / layer)
        (store.root / "overlay-layers" / f"{layer}.tar-split.gz").unlink()
        store.drop("overlay-layers/layers.json", layer)
    store.drop("overlay-images/images.json", image)
    shutil.rmtree(store.root / "overlay-images" / image)
    return store, image_store


def test_an_additional_store_holds_what_is_missing(tmp_path: Path) -> None:
    """Named, it explains the container; not named, image and parent are missing."""
    store, image_store = shared(tmp_path)
    assert sorted(codes(check(store.root))) == ["container-image-missing", "parent-missing"]
    report = check(store.root, additional_stores=[image_store.root])
    assert codes(report) == []
    assert [(entry["root"], entry["read_only"]) for entry in report.document()["stores"]] == [
        (str(store.root), False),
        (str(image_store.root), True),
    ]


def test_an_additional_store_that_cannot_be_read_is_an_error_and_hides(tmp_path: Path) -> None:
    """What it would hold is unknown, so nothing is called missing; the error says why."""
    store, image_store = shared(tmp_path)
    shutil.rmtree(image_store.root)
    report = check(store.root, additional_stores=[image_store.root])
    assert codes(report) == []
    assert report.exit_code == 1
    assert "NoStoreError" in report.document()["errors"][0]["error"]


def test_a_break_of_an_additional_store_is_marked(tmp_path: Path) -> None:
    """It is found once, in its own store, as read-only."""
    store, image_store = shared(tmp_path)
    layer = str(image_store.image("localhost/shared:1")["layer"])
    image_store.damage.lose_short_link(layer)
    ((where, finding),) = check(store.root, additional_stores=[image_store.root]).findings
    assert (finding.code, finding.subject, finding.read_only) == ("short-link-missing", layer, True)
    assert where.survey.root == str(image_store.root)


def test_the_configuration_of_this_machine_is_for_its_own_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A usual root uses what storage.conf names; a disk from elsewhere does not."""
    store, image_store = shared(tmp_path)
    configuration = tmp_path / "storage.conf"
    configuration.write_text(f'[storage.options]\nadditionalimagestores = ["{image_store.root}"]\n', encoding="utf-8")
    assert len(codes(check(store.root, configurations=[configuration]))) == 2
    monkeypatch.setattr(type(DRIVER), "usual_roots", lambda _: (store.root,))
    assert codes(check(store.root, configurations=[configuration])) == []


# --- the second look ------------------------------------------------------------------------------------------


class BusyClock(FakeClock):
    """A clock that starts now; while somebody waits, ``work`` is done."""

    def __init__(self, work: Callable[[], None]) -> None:
        """Do ``work`` once, at the first wait that is a second look."""
        super().__init__(time.time_ns())
        self.waits: list[float] = []
        self._work: Callable[[], None] | None = work

    def sleep(self, seconds: float) -> None:
        """Advance, and let the engine go on."""
        self.waits.append(seconds)
        super().sleep(seconds)
        if seconds >= SETTLE_SECONDS and self._work is not None:
            work, self._work = self._work, None
            work()


def test_damage_that_was_just_done_is_found_at_the_second_look(tmp_path: Path) -> None:
    """Everything about it is fresh, so it is looked at twice; then it is said."""
    root = unpack("e00_healthy", tmp_path)
    layers = json.loads((root / "overlay-layers" / "layers.json").read_text())
    (root / "overlay-layers" / "layers.json").write_text(json.dumps([one for one in layers if one["id"] != layers[1]["id"]]))
    clock = BusyClock(lambda: None)
    report = run_check([root], clock=clock)
    assert codes(report) == ["parent-missing"]
    assert SETTLE_SECONDS in clock.waits


def test_what_is_over_at_the_second_look_is_not_said(tmp_path: Path) -> None:
    """A container is being removed: its data is gone, its record is not yet. Two seconds later all of it is."""
    root = unpack("e00_healthy", tmp_path)
    file = root / "overlay-containers" / "containers.json"
    (container,) = json.loads(file.read_text())
    container |= {"big-data-names": ["config"], "big-data-sizes": {"config": 3}}
    file.write_text(json.dumps([container]))
    data = root / "overlay-containers" / container["id"]
    (data / "userdata").mkdir(parents=True)
    (data / "userdata" / "config").write_bytes(b"abc")
    old = time.time() - 86_400
    for path in [*root.rglob("*"), root]:
        os.utime(path, (old, old), follow_symlinks=False)
    shutil.rmtree(data)  # the first step of a removal that nothing but the directory's time shows

    def finish_removal() -> None:
        layers = root / "overlay-layers" / "layers.json"
        layers.write_text(json.dumps([one for one in json.loads(layers.read_text()) if one["id"] != container["layer"]]))
        (root / "overlay" / "l" / (root / "overlay" / container["layer"] / "link").read_text()).unlink()
        shutil.rmtree(root / "overlay" / container["layer"])
        file.write_text("[]")

    assert codes(run_check([root], clock=BusyClock(finish_removal))) == []
    assert json.loads(file.read_text()) == []


def test_a_store_at_rest_is_read_once(tmp_path: Path) -> None:
    """A dead disk needs no second look, whatever is wrong with it."""
    root = unpack("e03d_lower_drops_base", tmp_path)
    clock = FakeClock(LATER)
    reads: list[Survey] = []

    def read() -> Survey:
        reads.append(DRIVER.survey(root, clock=clock))
        return reads[-1]

    looked = look(read, Terms((), None, clock, no_progress))
    assert [finding.code for finding in looked.diagnosis.findings] == ["lower-mismatch"]
    assert len(reads) == 1


def test_a_leak_that_somebody_writes_into_is_none(tmp_path: Path) -> None:
    """What a finding would hold is measured first: a file just written deep in it shows a build at work."""
    root = unpack("e09_orphan_driver_dir", tmp_path)
    deep = root / "overlay" / ("d" * 64) / "diff" / "a" / "b"
    times = [(path, path.stat()) for path in (deep.parents[1], deep.parents[2])]
    deep.mkdir(parents=True)
    (deep / "download").write_bytes(b"x")
    for path, facts in times:
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert codes(run_check([root], clock=FakeClock(time.time_ns()))) == []
    assert codes(run_check([root], clock=FakeClock(time.time_ns() + 3600 * NANOSECONDS))) == ["unaccounted-layer"]


# --- the view -------------------------------------------------------------------------------------------------


def test_the_view_names_everything_and_does_nothing_to_the_terminal(tmp_path: Path) -> None:
    """Hostile names are shown escaped, and never read as markup."""
    root = unpack("e00_healthy", tmp_path)
    (root / "overlay" / "l" / "[red]\x07x").symlink_to("\x1b[2Jevil\udcff")
    stream = io.StringIO()
    report = check(root)
    render(report, stream)
    text = stream.getvalue()
    assert "short-link-malformed" in text
    assert "[red]\\x07x" in text
    assert not any(ord(character) < 32 and character != "\n" for character in text)
    assert "1 finding\n" in text
    assert str(root) in text


def test_the_view_of_a_healthy_store_and_of_errors(tmp_path: Path) -> None:
    """Good news is short; errors come with what to do."""
    stream = io.StringIO()
    render(check(unpack("e00_healthy", tmp_path), tmp_path / "nothing"), stream)
    assert "No findings." in stream.getvalue()
    assert "error: No container store at" in stream.getvalue()


def test_progress_is_quiet_where_nobody_looks() -> None:
    """No control sequence goes into a file."""
    stream = io.StringIO()
    with progress_on(stream, quiet=False) as progress:
        progress("layers", 1, 2)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_000_000_000, "2.0 GB"), (10**19, "10.0 EB")])
def test_bytes_for_people(count: int, text: str) -> None:
    """Powers of a thousand, as disks are sold."""
    assert human_bytes(count) == text


@pytest.mark.parametrize("kind", [NoStoreError, StoreError])
def test_errors_are_documented_objects(kind: type[StoreError]) -> None:
    """What stands in ``errors`` has the form of every error."""
    assert set(kind(root="/x", what="y").document()) == {"error", "message", "hint", "exit_code"}
