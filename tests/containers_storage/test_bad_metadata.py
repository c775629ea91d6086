"""Whatever stands in the metadata files: a survey says what it saw, names what it could not read, and keeps all the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from collector.links import LinkKind, LinkState
from collector.stores.overlay import names
from tests.containers_storage.made import Made, layer_id, one, records, small, survey, write_json

LAYERS = "overlay-layers/layers.json"


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return small(tmp_path / "s")


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (b"", 0),
        (b"\x00" * 4096, 0),
        (b"{}", 0),
        (b"7", 0),
        (b'"x"', 0),
        (b"[", 0),
        (b"[[]]", 0),
        (b'[{"id":"a"},{"id":"b"', 1),
        (b'[{"id":"a"},7,{"id":"b"}]', 2),
        (b'[{"id":"a"},{"id":5},{"id":"b"}]', 2),
        (b'[{"id":"a"},{"names":["x"]},{"id":"b"}]', 2),
        (b'[{"id":"a"},{"id":"a"},{"id":"b"}]', 2),
        (b'[{"id":"a"},{"id":"b","names":"x"}]', 2),
        (b'[{"id":"a"},{"id":"b","names":[1]}]', 2),
        (b'[{"id":"a"},{"id":"b","parent":["a"]}]', 2),
        (b'[{"id":"a"},{"id":"b","diff-size":1e999}]', 2),
        (b'[{"id":"a"},{"id":"b","diff-size":1.5}]', 2),
        (b'[{"id":"a"},{"id":"b","diff-size":true}]', 2),
        (b'[{"id":"a"},{"id":"b","diff-size":NaN}]', 2),
        (b'[{"id":"a"},{"id":"b","diff-size":' + b"9" * 5000 + b"}]", 2),
        (b'[{"id":"a"},{"id":"b","flags":[]}]', 2),
        (b'[{"id":"a"},{"id":"b","flags":{"x":{"y":1}}}]', 2),
        (b'[{"id":"a"},{"id":"b","created":12}]', 2),
        (b'[{"id":"a"},{"id":"\\ud800"}]', 2),
        (b'[{"id":"a"},{"id":"b\xff"}]', 2),
        (b'[{"id":"a"},{"id":"b","x":' + b"[" * 5000 + b"]" * 5000 + b'},{"id":"c"}]', 2),
        (b'[{"id":"a"},{"id":"../../etc"}]', 2),
        (b'[{"id":"a"},{"id":"' + b"x" * 5000 + b'"}]', 2),
        (b'[{"id":"a","parent":"' + b"x" * 5000 + b'"}]', 1),
    ],
)
def test_bad_metadata_hides_nothing_else(made: Made, data: bytes, kept: int) -> None:
    """The file is malformed and a problem; every entry that can be read is; the rest of the store is as before."""
    (made.root / LAYERS).write_bytes(data)
    found = survey(made.root)
    link = one(found, LinkKind.METADATA_FILE, LAYERS)
    assert link.state is LinkState.MALFORMED
    assert link.detail["error"]
    assert found.unread == (LAYERS,)
    assert len(records(found)) == kept
    assert len(list(found.of_kind(LinkKind.LAYER_DIRECTORY))) == 4
    assert one(found, LinkKind.METADATA_FILE, "overlay-images/images.json").state is LinkState.PRESENT
    for each in found.links.values():
        each.subject.encode("utf-8")
        json.loads(each.detail_json() or "{}")


@pytest.mark.parametrize(
    "field", ["digest", "layer", "names", "names-history", "mapped-layers", "big-data-names", "big-data-sizes", "created"]
)
@pytest.mark.parametrize("value", [7, True, [[1]], {"x": [1]}])
def test_an_image_with_a_field_of_the_wrong_type(made: Made, field: str, value: object) -> None:
    """The image is still known; the field says nothing; the file is a problem."""
    if field == "big-data-sizes":
        made.images[0]["big-data-names"] = ["x"]
    made.images[0][field] = value
    made.save()
    found = survey(made.root)
    assert {link.subject for link in found.of_kind(LinkKind.IMAGE_RECORD)} == {made.images[0]["id"]}
    assert found.unread == ("overlay-images/images.json",)


def test_a_metadata_file_over_the_limit(made: Made) -> None:
    """A sparse file of a gigabyte is refused by its size."""
    with (made.root / LAYERS).open("r+b") as file:
        file.truncate(1 << 30)
    found = survey(made.root)
    assert one(found, LinkKind.METADATA_FILE, LAYERS).state is LinkState.MALFORMED
    assert "over the limit" in one(found, LinkKind.METADATA_FILE, LAYERS).detail["error"]
    assert len(list(found.of_kind(LinkKind.IMAGE_RECORD))) == 1


def test_missing_metadata_files_are_simply_absent(made: Made) -> None:
    """No layers.json in a store that has images: no link, no problem; what it means is for the diagnosis."""
    (made.root / LAYERS).unlink()
    found = survey(made.root)
    assert LAYERS not in {link.path for link in found.of_kind(LinkKind.METADATA_FILE)}
    assert found.problems == ()
    shutil.rmtree(made.root / "overlay-layers")
    assert survey(made.root).problems == ()


def test_many_faults_are_cut_short(made: Made) -> None:
    """A million bad entries make one problem of a few lines."""
    write_json(made.root / LAYERS, [0] * 100_000)
    (problem,) = survey(made.root).problems
    assert "and 99980 more" in problem.what
    assert len(problem.what) < 2000


def test_data_files_and_owner_directories_out_of_form(made: Made) -> None:
    """A link in the place of an image's directory is not entered; a link in the place of a data item is malformed."""
    image = made.images[0]["id"]
    (made.root / "overlay-images" / image).symlink_to("/etc")
    container = made.root / "overlay-containers" / made.containers[0]["id"]
    container.mkdir()
    (container / "userdata").symlink_to("/etc")
    (made.root / f"overlay-layers/{layer_id(0)}.tar-split.gz").unlink()
    (made.root / f"overlay-layers/{layer_id(0)}.tar-split.gz").symlink_to("/etc/passwd")
    found = survey(made.root)
    assert one(found, LinkKind.OWNER_DIRECTORY, f"overlay-images/{image}").state is LinkState.MALFORMED
    assert one(found, LinkKind.OWNER_DIRECTORY, f"overlay-containers/{container.name}").state is LinkState.PRESENT
    assert one(found, LinkKind.DATA_FILE, f"overlay-layers/{layer_id(0)}.tar-split.gz").state is LinkState.MALFORMED
    assert found.unread == (f"overlay-containers/{container.name}/userdata",)
    assert not any(link.target == "passwd" for link in found.links.values())


def test_crowded_directories_are_bounded(made: Made) -> None:
    """A layer directory with thousands of names is read in part, says so, and its link file is read all the same."""
    layer = made.root / "overlay" / layer_id(1)
    for number in range(names.LAYER_ENTRIES + 5):
        (layer / f"x{number}").touch()
    found = survey(made.root)
    assert found.unread == (f"overlay/{layer_id(1)}",)
    assert one(found, LinkKind.LINK_FILE, f"overlay/{layer_id(1)}/link").state is LinkState.PRESENT
