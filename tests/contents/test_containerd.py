from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import zstandard

from collector.contents import check_contents
from collector.contents.blob import Blob
from collector.contents.expected import ArchiveError
from collector.findings import Contents
from collector.safe import open_root
from collector.stores.protocol import no_progress
from linktrail.testing.layer_tar import Entry, Layer, Symlink
from tests.containerd.build import Store
from tests.containerd.helpers import survey
from tests.contents.scene import ThroughLink

FILES: dict[str, Entry] = {"bin/app": b"program" * 1000, "bin/sh": Symlink("app"), "etc/conf": b"x=1"}
UPPER: dict[str, Entry] = {"etc/conf": b"x=2", "etc/more": b"y" * 3000}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "two gzip members": lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]) + bytes(512),
    "zstd": zstandard.compress,
}


def sha(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def build(
    root: Path,
    pack: Callable[[bytes], bytes] = gzip.compress,
    layers: Sequence[Layer] = (Layer(FILES), Layer(UPPER)),
    unpacked: Sequence[Layer] | None = None,
) -> list[Path]:
    """Make a containerd store with one image of two layers, unpacked, and return the directories of its snapshots and its blobs."""
    store = Store(root)
    diffs = [sha(layer.tar) for layer in layers]
    chains = [diffs[0], sha(f"{diffs[0]} {diffs[1]}".encode())]
    steps = [{"created_by": "ENV x=1", "empty_layer": True}, *({"created_by": layer.created_by} for layer in layers)]
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": diffs}, "history": steps}).encode()
    numbers = [store.snapshot(chains[0]), store.snapshot(chains[1], chains[0])]
    labels = {
        "containerd.io/gc.ref.content.config": store.blob(sha(config), {"containerd.io/gc.ref.snapshot.overlayfs": chains[1]}, data=config)
    }
    blobs = []
    for number, layer in enumerate(layers):
        data = pack(layer.tar)
        blobs.append(store.blob(sha(data), {"containerd.io/uncompressed": diffs[number]}, data=data))
        labels[f"containerd.io/gc.ref.content.l.{number}"] = blobs[-1]
    store.tag("example.org/app:1", store.blob(sha(b"manifest"), labels, data=b"manifest"))
    store.commit().close()
    places = [store.directory(number) / "fs" for number in numbers]
    for place, layer in zip(places, unpacked or layers, strict=True):
        unpack(place, layer)
    return [*places, *(root / "io.containerd.content.v1.content/blobs" / blob.replace(":", "/") for blob in blobs)]


def unpack(place: Path, layer: Layer) -> None:
    for path, entry in layer.walk():
        here = place / path
        if entry is None:
            here.mkdir(mode=0o755)
        elif isinstance(entry, Symlink):
            here.symlink_to(entry.to)
        elif isinstance(entry, bytes):
            here.write_bytes(entry)
            here.chmod(0o755)


def look(root: Path) -> Contents:
    return check_contents(survey(root), (), no_progress)


def codes(root: Path) -> list[tuple[str, str]]:
    """Return (code, subject without namespace and number) of each finding."""
    return [(finding.code, finding.subject.rpartition("/")[2]) for finding in look(root).findings]


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_blobs_of_every_packing_are_read(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """A healthy store is silent and completely compared; one changed byte is found in the right layer."""
    _, upper, _, _ = build(tmp_path, pack)
    healthy = look(tmp_path)
    assert healthy.findings == ()
    assert healthy.problems == ()
    assert healthy.coverage == {"layers": 2, "compared": 2, "not_compared": {}}
    (upper / "etc/more").write_bytes(b"z" * 3000)
    chains = [sha(Layer(FILES).tar), sha(f"{sha(Layer(FILES).tar)} {sha(Layer(UPPER).tar)}".encode())]
    assert codes(tmp_path) == [("layer-content-digest", chains[1])]


def test_damage_is_named_as_elsewhere(tmp_path: Path) -> None:
    """Emptied files, a link that points elsewhere, a mode."""
    base, upper, _, _ = build(tmp_path)
    os.truncate(base / "bin/app", 0)
    (base / "bin/sh").unlink()
    (base / "bin/sh").symlink_to("../etc/conf")
    (upper / "etc/more").chmod(0o4755)
    found = {finding.code: finding for finding in look(tmp_path).findings}
    assert found.keys() == {"zero-length-files", "layer-symlink-retargeted", "layer-content-modified"}
    assert found["zero-length-files"].evidence["files"] == ["bin/app"]
    assert found["zero-length-files"].path == "io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs"


def test_a_layer_whose_blob_was_discarded_is_counted_not_accused(tmp_path: Path) -> None:
    """Containerd may drop blobs once they are unpacked (discard_unpacked_layers): nothing to compare with, whatever is on disk."""
    base, _, blob, _ = build(tmp_path)
    blob.unlink()
    os.truncate(base / "bin/app", 0)
    found = look(tmp_path)
    assert found.findings == ()
    assert found.coverage == {"layers": 2, "compared": 1, "not_compared": {"its blob is not in the content store": 1}}


def test_a_damaged_blob_accuses_itself_and_no_layer(tmp_path: Path) -> None:
    """A blob that is not what its digest says is no measure for anything."""
    _, _, blob, _ = build(tmp_path)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 0xFF
    blob.write_bytes(data)
    found = look(tmp_path)
    assert [(finding.code, finding.subject) for finding in found.findings] == [("image-data-modified", f"sha256:{blob.name}")]
    assert found.coverage["not_compared"] == {"its blob is damaged": 1}


def test_a_blob_cut_short_accuses_itself(tmp_path: Path) -> None:
    """The same for one that power loss shortened, to nothing even."""
    *_, blob = build(tmp_path)
    for size in (100, 0):
        os.truncate(blob, size)
        assert [code for code, _ in codes(tmp_path)] == ["image-data-modified"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_bomb_is_given_up(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """What unpacks to more than the limit is not read to its end."""
    data = pack(bytes(32 << 20))
    (tmp_path / "blob").write_bytes(data)
    with open_root(tmp_path) as directory, pytest.raises(ArchiveError):
        Blob(directory, "blob", sha(data), limit=16 << 20).headers()


def test_a_container_that_climbs_out(tmp_path: Path) -> None:
    """Links of an active snapshot are resolved over the committed ones below it."""
    store = Store(tmp_path)
    store.snapshot("sha256:base")
    number = store.container("one", "image", "sha256:base")
    store.commit().close()
    (store.directory(number) / "fs/trap").symlink_to("../../etc/shadow")
    assert codes(tmp_path) == [("escaping-symlink", "one")]


def test_an_entry_unpacked_through_a_link_of_a_layer_below(tmp_path: Path) -> None:
    """Containerd unpacks over the merged parents: lib/x of the upper layer stands in usr/lib, where the base's link leads."""
    layers = [Layer({"usr/lib/own": b"1", "lib": Symlink("usr/lib")}), ThroughLink({"lib/x": b"library" * 9})]
    base, upper, _, _ = build(tmp_path, layers=layers, unpacked=[layers[0], Layer({"usr/lib/x": b"library" * 9})])
    assert base.is_dir()
    assert look(tmp_path).findings == ()
    (upper / "usr/lib/x").write_bytes(b"LIBRARY" * 9)
    assert [code for code, _ in codes(tmp_path)] == ["layer-content-digest"]
