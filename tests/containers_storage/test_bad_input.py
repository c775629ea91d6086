"""Whatever stands on the disk: a survey says what it saw, names what it could not read, and keeps all the rest."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.links import LinkKind, LinkState
from collector.stores import driver_for
from collector.stores.containers_storage import DRIVER, layout
from collector.stores.overlay import names
from collector.stores.overlay.layers import kind_of_file
from linktrail.errors import NoStoreError, StoreUnreadableError
from tests.containers_storage.made import Made, as_nobody, layer_id, one, open_place, records, short_name, small, survey
from tests.needs import need

LAYERS = "overlay-layers/layers.json"


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return small(tmp_path / "s")


@pytest.fixture
def link_file(made: Made) -> Path:
    return made.root / "overlay" / layer_id(1) / "link"


# --- roots ----------------------------------------------------------------------------------------------------


def test_roots_that_are_no_store(tmp_path: Path, made: Made) -> None:
    """Nothing, a file, an empty directory, a loop, a part of a store, a run root: each is refused in one sentence."""
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "run/overlay-layers").mkdir(parents=True)
    (tmp_path / "run/overlay-containers").mkdir()
    for name in ("overlay-layers/mountpoints.json", "overlay-layers/volatile-layers.json", "overlay-containers/volatile-containers.json"):
        (tmp_path / "run" / name).write_text("[]")
    for root in (tmp_path / "none", tmp_path / "file", tmp_path / "empty", tmp_path / "loop", tmp_path / "run", made.root / "overlay"):
        assert not DRIVER.detect(root)
        assert driver_for(root) is None
        for verb in (survey, DRIVER.watch_plan):
            with pytest.raises(NoStoreError) as caught:
                verb(root)
            assert caught.value.exit_code == 10
            assert str(root) in caught.value.message


@pytest.fixture
def opened() -> Iterator[Made]:
    """A store that any user can reach."""
    need("root")
    with open_place() as place:
        made = small(place / "s")
        made.root.chmod(0o755)
        yield made


def test_a_root_without_permission_is_not_absent(opened: Made) -> None:
    """Closed to this user: unreadable, with the hint; the outline of a store alone is recognised and cannot be read."""
    for place in (layout.LAYERS, layout.IMAGES, layout.CONTAINERS):
        (opened.root / place).chmod(0o700)
    with as_nobody():
        assert DRIVER.detect(opened.root)
        with pytest.raises(StoreUnreadableError, match="permission denied") as caught:
            survey(opened.root)
    assert "CAP_DAC_READ_SEARCH" in caught.value.advice


def test_parts_without_permission_are_problems(opened: Made) -> None:
    """Metadata that may be read, layers that may not: what is behind a closed door is unknown, not gone."""
    (opened.root / "overlay" / layer_id(1)).chmod(0o700)
    (opened.root / "overlay" / layer_id(2) / "link").chmod(0o600)
    with as_nobody():
        found = survey(opened.root)
    assert set(found.unread) == {f"overlay/{layer_id(1)}", f"overlay/{layer_id(2)}/link"}
    assert one(found, LinkKind.LAYER_DIRECTORY, f"overlay/{layer_id(1)}").state is LinkState.PRESENT
    assert one(found, LinkKind.LINK_FILE, f"overlay/{layer_id(2)}/link").state is LinkState.UNREADABLE
    assert len(records(found)) == 4


@pytest.mark.parametrize("at", ["read_metadata", "_read_parts"])
def test_a_store_that_vanishes_while_it_is_read(made: Made, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Removed before or between the reads: no store, never a survey in which everything is gone."""
    from collector.stores.containers_storage import survey as module  # noqa: PLC0415 - the module, beside the function of that name

    real = getattr(module, at)

    def vanishing(*arguments: Any) -> Any:
        result = real(*arguments)
        shutil.rmtree(made.root, ignore_errors=True)
        return result

    monkeypatch.setattr(module, at, vanishing)
    with pytest.raises(NoStoreError, match="while it was read"):
        survey(made.root)


def test_an_unmounted_store_is_no_store(made: Made) -> None:
    """The mount point is there, empty: no store, and no survey of removals."""
    for path in made.root.iterdir():
        shutil.rmtree(path)
    with pytest.raises(NoStoreError):
        survey(made.root)


# --- links and trees ------------------------------------------------------------------------------------------


def test_a_layer_directory_replaced_by_a_link_to_etc(made: Made) -> None:
    """It is malformed, says where it points, and nothing behind it is read, also where ``link`` files wait there."""
    trap = made.root.parent / "trap"
    trap.mkdir()
    (trap / "link").write_text("SECRETSECRETSECRETSECRETSE")
    for number, target in ((1, trap), (2, "/etc")):
        shutil.rmtree(made.root / "overlay" / layer_id(number))
        (made.root / "overlay" / layer_id(number)).symlink_to(target)
    found = survey(made.root)
    for number, target in ((1, str(trap)), (2, "/etc")):
        link = one(found, LinkKind.LAYER_DIRECTORY, f"overlay/{layer_id(number)}")
        assert (link.state, dict(link.detail)) == (LinkState.MALFORMED, {"type": "symlink", "to": target})
    assert "SECRETSECRETSECRETSECRETSE" not in {link.target for link in found.links.values()}
    assert len(records(found)) == 4
    assert {item.path.name for item in DRIVER.watch_plan(made.root).items} & {layer_id(1), layer_id(2)} == set()


def test_things_in_the_place_of_layer_directories(made: Made) -> None:
    """A file, a fifo, a loop under a layer's name are malformed layer directories; under other names they are nothing."""
    overlay = made.root / "overlay"
    (overlay / ("a" * 64)).write_text("x")
    os.mkfifo(overlay / ("b" * 64))
    (overlay / ("c" * 64)).symlink_to("c" * 64)
    (overlay / "note.txt").write_text("x")
    made.layers.append({"id": "own-id"})
    made.save()
    (overlay / "own-id").write_text("x")
    odd = {
        link.subject: link.detail["type"]
        for link in survey(made.root).of_kind(LinkKind.LAYER_DIRECTORY)
        if link.state is LinkState.MALFORMED
    }
    assert odd == {"a" * 64: "file", "b" * 64: "fifo", "c" * 64: "symlink", "own-id": "file"}


@pytest.mark.parametrize("place", ["overlay", "overlay/l", "overlay-layers", "overlay-images", "overlay/staging", "overlay/tempdirs"])
def test_a_place_that_is_a_link_is_not_entered(made: Made, place: str) -> None:
    """A directory of the engine replaced by a symbolic link: a problem there, and nothing of what it points to."""
    path, aside = made.root / place, made.root.parent / "aside"
    if path.exists():
        path.rename(aside)
    else:
        aside.mkdir()
    path.symlink_to(aside)
    found = survey(made.root)
    assert place in found.unread
    below = {link.path for link in found.links.values() if link.path.startswith(f"{place}/")}
    assert all(found.links[LinkKind.METADATA_FILE, path, path].state is LinkState.UNREADABLE for path in below)


@pytest.mark.parametrize("name", ["diff", "work"])
def test_a_diff_that_is_a_link_counts_as_none(made: Made, name: str) -> None:
    """What is no directory is not there, as far as a layer goes."""
    path = made.root / "overlay" / layer_id(0) / name
    path.rmdir()
    path.symlink_to("/etc")
    detail = one(survey(made.root), LinkKind.LAYER_DIRECTORY, f"overlay/{layer_id(0)}").detail
    assert detail[name] is False
    assert detail.get("diff_type") == ("symlink" if name == "diff" else None)


def test_short_links_out_of_form(made: Made) -> None:
    """Links out of the tree, loops, files and names that are no short name are malformed, and none is followed."""
    place = made.root / "overlay/l"
    name = short_name(77)
    good = f"../{layer_id(0)}/diff"
    targets = {"A" * 26: "/etc", "B" * 26: "../../../../etc/diff", "C" * 26: "C" * 26, "D" * 26: "../../diff", "E" * 26: f"{good}/"}
    targets |= {"short": good, name.lower(): good, "F" * 25 + "1": good, "G" * 26: "../" + "x" * 4000}
    for link, target in targets.items():
        (place / link).symlink_to(target)
    (place / ("H" * 26)).write_text("x")
    os.mkfifo(place / ("I" * 26))
    (place / ("J" * 26)).mkdir()
    found = {link.subject: link for link in survey(made.root).of_kind(LinkKind.SHORT_LINK)}
    odd = {*targets, "H" * 26, "I" * 26, "J" * 26}
    assert {link.state for name, link in found.items() if name in odd} == {LinkState.MALFORMED}
    assert {link.state for name, link in found.items() if name not in odd} == {LinkState.PRESENT}
    assert {name: found[name].target for name in targets} == targets
    assert {found[name].layer_id for name in targets if targets[name] != good} == {None}


def test_names_that_are_no_text(made: Made) -> None:
    """Bytes that are no UTF-8 in any name are read, kept and given back."""
    name = os.fsdecode(b"\xff\xfe\x80")
    overlay = made.root / "overlay"
    (overlay / name / "diff").mkdir(parents=True)
    (overlay / name / "link").write_bytes(b"\xff" * 26)
    (overlay / "l" / name).symlink_to(os.fsdecode(b"../\xff\xfe\x80/diff"))
    (made.root / "overlay-images" / name).mkdir()
    (made.root / "overlay-images" / name / name).touch()
    (made.root / f"overlay-layers/{name}.tar-split.gz").touch()
    found = survey(made.root)
    assert one(found, LinkKind.LAYER_DIRECTORY, f"overlay/{name}").subject == name
    assert one(found, LinkKind.SHORT_LINK, f"overlay/l/{name}").layer_id == name
    link = one(found, LinkKind.LINK_FILE, f"overlay/{name}/link")
    assert (os.fsencode(link.target or ""), link.state) == (b"\xff" * 26, LinkState.MALFORMED)
    assert one(found, LinkKind.DATA_FILE, f"overlay-layers/{name}.tar-split.gz").subject == name
    assert os.fsencode(one(found, LinkKind.DATA_FILE, f"overlay-images/{name}/{name}").target or "") == b"\xff\xfe\x80"
    assert found.problems == ()


# --- link, lower ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["A" * 25, "A" * 27, "A" * 26 + "\n", "\n", " ", "../..", "../../../etc", "l/" + "A" * 26, "a" * 26, "A" * 13 + "\0" * 13, "\u00e9"],
)
def test_link_files_out_of_form(made: Made, link_file: Path, text: str) -> None:
    """Anything but 26 characters of base32 is malformed, and stands in the link as it is."""
    link_file.write_text(text)
    found = survey(made.root)
    link = one(found, LinkKind.LINK_FILE, f"overlay/{layer_id(1)}/link")
    assert (link.state, link.target) == (LinkState.MALFORMED, text)
    assert found.problems == ()


def test_empty_files_are_empty(made: Made, link_file: Path) -> None:
    """The damage that erases l/: an empty link has a state of its own."""
    link_file.write_bytes(b"")
    (link_file.parent / "lower").write_bytes(b"")
    (link_file.parent / "lower-layers").write_bytes(b"")
    found = survey(made.root)
    for file, kind in ((file, kind_of_file(file)) for file in layout.LINK_FORMS):
        link = one(found, kind, f"overlay/{layer_id(1)}/{file}")
        assert (link.state, link.target) == (LinkState.EMPTY, None)


@pytest.mark.parametrize("size", [names.LINK_BYTES + 1, 10 << 20])
def test_a_link_file_of_megabytes(made: Made, link_file: Path, size: int) -> None:
    """Over the limit: malformed with its size, a beginning as evidence, and a problem."""
    link_file.write_bytes(b"A" * size)
    found = survey(made.root)
    link = one(found, LinkKind.LINK_FILE, f"overlay/{layer_id(1)}/link")
    assert link.state is LinkState.MALFORMED
    assert link.detail["size"] == size
    assert 0 < len(link.target or "") <= names.LINK_BYTES
    assert found.unread == (f"overlay/{layer_id(1)}/link",)


@pytest.mark.parametrize(
    "text", ["l", "l:l/" + "A" * 26, "l/" + "A" * 26 + ":", ":l/" + "A" * 26, "l/" + "A" * 26 + "\n", "/etc", "l/../../etc", "l/a"]
)
def test_lower_files_out_of_form(made: Made, text: str) -> None:
    """A bare ``l`` puts the whole directory of links into the container; it, and all else out of form, is malformed."""
    (made.root / "overlay" / layer_id(1) / "lower").write_text(text)
    link = one(survey(made.root), LinkKind.LOWER_REFERENCE, f"overlay/{layer_id(1)}/lower")
    assert (link.state, link.target) == (LinkState.MALFORMED, text)


@pytest.mark.parametrize("text", ["", "a:", ":a", "..", "a/b", "a\n", "a:.:b"])
def test_lower_layers_files_out_of_form(made: Made, text: str) -> None:
    """Layer ids are file names, one after the other."""
    (made.root / "overlay" / layer_id(1) / "lower-layers").write_text(text)
    link = one(survey(made.root), LinkKind.LOWER_REFERENCE, f"overlay/{layer_id(1)}/lower-layers")
    assert link.state is (LinkState.MALFORMED if text else LinkState.EMPTY)


@pytest.mark.parametrize(("size", "state"), [(1 << 20, LinkState.PRESENT), (10 << 20, LinkState.MALFORMED)])
def test_a_lower_file_of_megabytes(made: Made, size: int, state: LinkState) -> None:
    """A long chain is cut in the link, never in the judgement, up to the limit."""
    unit = "l/" + "A" * 26 + ":"
    text = (unit * (size // len(unit)))[:-1]
    (made.root / "overlay" / layer_id(1) / "lower").write_text(text)
    link = one(survey(made.root), LinkKind.LOWER_REFERENCE, f"overlay/{layer_id(1)}/lower")
    assert link.state is state
    assert len(link.target or "") <= names.TARGET_CHARACTERS
    assert link.detail["size"] == len(text)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def _directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("plant", [_fifo, _link, _directory])
@pytest.mark.parametrize("name", [f"overlay/{layer_id(1)}/link", f"overlay/{layer_id(1)}/lower", LAYERS])
def test_things_planted_in_the_place_of_files(made: Made, name: str, plant: Callable[[Path], None]) -> None:
    """A fifo does not hang, a link is not followed, a directory is no file: malformed, with a problem."""
    (made.root / name).unlink()
    plant(made.root / name)
    began = time.monotonic()
    found = survey(made.root)
    assert time.monotonic() - began < 5
    (link,) = [link for link in found.links.values() if link.path == name]
    assert link.state is LinkState.MALFORMED
    assert "not a regular file" in link.detail["error"]
    assert found.unread == (name,)
