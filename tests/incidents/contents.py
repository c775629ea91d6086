"""What is inside of layers: files that power loss emptied, and links of images. The record has times, ``check --contents`` files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from collector.check import run_check
from collector.whatis import what_is
from linktrail.testing.clock import FakeClock
from linktrail.testing.containers_storage import Layer, StoreBuilder, Symlink, finish, layer_ids
from tests.contents.test_containerd import build
from tests.incidents.made import APP, shop
from tests.incidents.registry import incident
from tests.incidents.replay import HOUR, MINUTE, Ask, Broken, Says, Scene, allocated


def inside(scene: Scene, code: str | None, words: Sequence[str], *, all_links: bool = False) -> list[dict[str, Any]]:
    """Check that ``linktrail check --contents`` finds ``code``, and says ``words`` of it (with no ``code``: that it finds nothing).

    Return what it found.
    """
    report = run_check([scene.root], contents=True, all_links=all_links, min_age=0, clock=FakeClock(scene.now), configurations=())
    assert report.errors == []
    found: list[dict[str, Any]] = report.document()["findings"]
    assert {finding["code"] for finding in found} == ({code} if code else set()), found
    missing = [word for word in words if word not in str(found)]
    assert not missing, (missing, found)
    return found


def empty(path: Path, modified: int) -> None:
    """Take the content of a file and nothing else, as a filesystem does that lost power."""
    os.truncate(path, 0)
    os.utime(path, ns=(modified, modified))


@incident("B06", "power is lost while containers are made: files of complete layers are empty")
def emptied(scene: Scene) -> Says:
    made = shop(scene)
    healthy = scene.record()
    happened = scene.wait(MINUTE)
    scene.crash()
    for file in ("bin/sh", "etc/os-release"):
        path = made.directory(made.base) / "diff" / file
        empty(path, path.stat().st_mtime_ns)
    unknown = Broken(healthy, happened, scene.record())
    scene.record()
    inside(scene, "zero-length-files", ("2 file(s)", "bin/sh", "etc/os-release", made.base, APP, "30008 bytes"))
    return Says(
        None,
        asks=(
            Ask("timeline", made.base, ("boot", "observed", "measured")),
            Ask("timeline", made.base, ("gap", "restart"), when=unknown),
            Ask("shared_by", made.base, (APP, "quay.io/shop/other:1", "web")),
        ),
    )


@incident("E08", "a binary of an image has no bytes after an unclean shutdown, and pulling again does not help")
def emptied_snapshot(scene: Scene) -> Says:
    places = build(scene.root)
    healthy = scene.record()
    happened = scene.wait(MINUTE)
    scene.crash()
    path = places[0] / "bin/app"
    empty(path, path.stat().st_mtime_ns)
    unknown = Broken(healthy, happened, scene.record())
    scene.record()
    inside(scene, "zero-length-files", ("bin/app", "example.org/app:1", "7000 bytes"))
    number = places[0].parent.name
    return Says(
        None,
        asks=(
            Ask("timeline", f"snapshots/{number}", ("boot",)),
            Ask("timeline", f"snapshots/{number}", ("gap", "restart"), when=unknown),
            Ask("whois", f"io.containerd.snapshotter.v1.overlayfs/snapshots/{number}/fs/bin/app", ("example.org/app:1",)),
        ),
    )


@incident("G01", "COPY brings a link whose target was not copied: it was never anything but broken")
def copied_link(scene: Scene) -> Says:
    builder = StoreBuilder(scene.root, clock=scene.clock)
    layers = [Layer({"bin/sh": b"s" * 3000}), Layer({"test/foo": Symlink("../test2")}, created_by="COPY ./test /test")]
    finish(builder.pull(APP, layers))
    scene.wait(HOUR)
    scene.record()
    scene.record()
    words = ("test/foo", "../test2", layer_ids(layers)[1], APP, "It is layer 2 of 2 of image", "made by: COPY ./test /test")
    inside(scene, "dangling-symlink", words, all_links=True)
    return Says(None, asks=(Ask("whois", layer_ids(layers)[1], (APP,)), Ask("timeline", layer_ids(layers)[1], ("observed",))))


@incident("G02", "a link that replaced a link is lost in the next layer: each layer's own target is what counts")
def replaced_link(scene: Scene) -> Says:
    builder = StoreBuilder(scene.root, clock=scene.clock)
    layers = [Layer({"srv/file1.ext": b"1" * 40, "srv/file1.alt": b"2" * 40, "srv/file": Symlink("file1.ext")}), Layer({"srv/other": b"o"})]
    finish(builder.pull(APP, layers))
    scene.record()
    link = scene.root / "overlay" / layer_ids(layers)[0] / "diff/srv/file"
    scene.wait(HOUR)
    link.unlink()
    link.symlink_to("file1.alt")
    scene.record()
    scene.record()
    made = link.lstat().st_ctime_ns  # the kernel's own time: the scene dates what changed, and that changes the inode
    (found,) = inside(scene, "layer-symlink-retargeted", ("srv/file", "file1.ext", "file1.alt", layer_ids(layers)[0], APP))
    assert abs(round(datetime.fromisoformat(found["since"]["before"]).timestamp() * 1e6) * 1000 - made) <= 1000
    return Says(None, asks=(Ask("whois", f"overlay/{layer_ids(layers)[0]}/diff/srv/file", (APP,)),))


@incident("G03", "a layer writes below a path that is a symbolic link in the layer under it: what is the path, in which layer?")
def another_kind(scene: Scene) -> Says:
    builder = StoreBuilder(scene.root, clock=scene.clock)
    base = Layer({"usr/pki/ca": b"c" * 900, "etc/pki": Symlink("../usr/pki")})
    layers = [base, Layer({"etc/pki/own": b"o" * 5000})]
    finish(builder.pull("quay.io/shop/base:1", [base]))
    broken = scene.break_in(lambda: finish(builder.pull(APP, layers)))
    lower, upper = layer_ids(layers)
    report = what_is("/etc/pki", [scene.root], inside=APP, clock=scene.clock, configurations=())
    ((chain,),) = ([told for _, chains in report.stores for told in chains],)
    assert [(row.layer, row.standing.kind, row.standing.target) for row in chain.rows] == [
        (upper, "directory", None),
        (lower, "symlink", "../usr/pki"),
    ]
    ((path, over, under),) = chain.changes
    assert (path, over.layer, under.layer) == ("etc/pki", upper, lower)
    assert [image.names for image in chain.images.values()] == [[APP]]
    return Says(
        None,
        asks=(
            Ask("timeline", upper, ("layer_directory", "created"), when=broken),
            Ask("whois", f"overlay/{upper}/diff/etc/pki", (APP,)),
            Ask("usage", "", (upper, APP, str(allocated(builder.root / "overlay" / upper))), together=True),
        ),
    )
