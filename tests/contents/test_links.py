from __future__ import annotations

import os
from pathlib import Path

import pytest

from linktrail.testing.layer_tar import Entry, Symlink, Whiteout
from tests.contents.scene import codes, look, store, whiteout
from tests.needs import need

BASE: dict[str, Entry] = {"lib/libc.so.6": b"ELF", "lib/libc.so": Symlink("libc.so.6"), "etc/conf": b"x"}


def test_links_as_shipped_are_silent(tmp_path: Path) -> None:
    """Dangling, climbing, looping, into /proc, and into what a later layer of the image deletes: images are made like this."""
    need("root")
    links: dict[str, Entry] = {
        "app/nowhere": Symlink("../no/such"),
        "app/climbs": Symlink("../../../../etc/shadow"),
        "app/loop": Symlink("loop"),
        "etc/mtab": Symlink("/proc/mounts"),
        "lib/gone": Symlink("libc.so.6"),
    }
    store(tmp_path, [BASE, links, {"lib/libc.so.6": Whiteout()}], container=True)
    assert look(tmp_path) == []
    named = look(tmp_path, all_links=True)
    assert {finding["severity"] for finding in named} == {"info"}
    found = {(finding["code"], link["path"]) for finding in named for link in finding["evidence"]["links"]}
    assert found == {
        ("dangling-symlink", "app/nowhere"),
        ("dangling-symlink", "app/climbs"),
        ("dangling-symlink", "app/loop"),
        ("dangling-symlink", "lib/gone"),
        ("dangling-symlink", "lib/libc.so"),
        ("escaping-symlink", "app/climbs"),
    }


def test_a_whiteout_that_no_record_knows_breaks_links(tmp_path: Path) -> None:
    """What a link points to is hidden by a whiteout that the layer was not made with: the link's layer is named, and the other."""
    need("root")
    base, upper = store(tmp_path, [BASE, {"lib/other": b"x"}])
    whiteout(upper / "lib/libc.so.6")
    (finding,) = look(tmp_path)
    assert (finding["code"], finding["severity"], finding["subject"]) == ("dangling-symlink", "warning", base.parent.name)
    assert upper.parent.name in finding["related"]
    (link,) = finding["evidence"]["links"]
    assert (link["path"], link["ends_at"], link["broken_by"]) == ("lib/libc.so", "lib/libc.so.6", [upper.parent.name])


@pytest.mark.parametrize("attribute", ["trusted.overlay.opaque", "user.overlay.opaque"])
def test_an_opaque_directory_that_no_record_knows_breaks_links(attribute: str, tmp_path: Path) -> None:
    """An opaque directory hides all that lies below it; links outside of it that lead into it dangle."""
    need("root")
    base: dict[str, Entry] = {**BASE, "usr/lib": Symlink("../lib"), "usr/libc": Symlink("lib/libc.so.6")}
    _, upper = store(tmp_path, [base, {"lib/other": b"x"}])
    assert look(tmp_path) == []
    os.setxattr(upper / "lib", attribute, b"y")
    assert codes(tmp_path) == {("dangling-symlink", "usr/libc")}


def test_what_a_container_deletes_is_its_own_affair(tmp_path: Path) -> None:
    """A whiteout in the writable layer is what the container did."""
    need("root")
    *_, upper = store(tmp_path, [BASE], container=True)
    (upper / "lib").mkdir()
    whiteout(upper / "lib/libc.so.6")
    assert look(tmp_path) == []
    assert ("dangling-symlink", "lib/libc.so") in codes(tmp_path, all_links=True)


def test_what_a_container_mounts_is_there(tmp_path: Path) -> None:
    """A link into a volume leads to what the volume brings, in the chain of the container that has it; in the image it leads nowhere."""
    layers: list[dict[str, Entry]] = [{"srv/data": Symlink("/volumes/one/data"), "srv/other": Symlink("/volumes/two")}]
    *_, upper = store(tmp_path, layers, container=True)
    (upper / "volumes/one").mkdir(parents=True)  # as the runtime makes the mount point
    for name, target in (("new", "/volumes/one/new"), ("newer", "/volumes/onerous")):
        (upper / name).symlink_to(target)
    (userdata,) = tmp_path.glob("overlay-containers/*/userdata")
    (userdata / "config.json").write_text('{"mounts": [{"destination": "/volumes/one"}, {"destination": 7}, null]}', encoding="ascii")
    found = {(finding["subject"], link["path"]) for finding in look(tmp_path, all_links=True) for link in finding["evidence"]["links"]}
    image = next(path.name for path in (tmp_path / "overlay").iterdir() if (path / "diff/srv").is_dir())
    assert found == {(image, "srv/data"), (image, "srv/other"), (upper.parent.name, "newer")}


def test_a_target_that_the_disk_lost(tmp_path: Path) -> None:
    """Where a recorded file is gone, the links to it are named beside it; where an upper layer has another, they are not."""
    base, _ = store(tmp_path, [{**BASE, "etc/alias": Symlink("conf")}, {"etc/conf": b"newer"}])
    (base / "lib/libc.so.6").unlink()
    (base / "etc/conf").unlink()
    assert codes(tmp_path) == {("layer-content-modified", "etc/conf"), ("dangling-symlink", "lib/libc.so")}


def test_a_planted_link_that_climbs_out(tmp_path: Path) -> None:
    """Added to an image layer, or made of a link that did not climb, it is told apart from those that images bring."""
    (diff,) = store(tmp_path, [BASE])
    (diff / "lib/trap").symlink_to("../../../../../../etc/shadow")
    assert codes(tmp_path) == {("layer-content-modified", "lib/trap"), ("escaping-symlink", "lib/trap")}
    (diff / "lib/trap").unlink()
    (diff / "lib/libc.so").unlink()
    (diff / "lib/libc.so").symlink_to("../../lib/libc.so.6")
    assert codes(tmp_path) == {("layer-symlink-retargeted", "lib/libc.so"), ("escaping-symlink", "lib/libc.so")}


def test_a_container_that_makes_a_link_out_of_its_root(tmp_path: Path) -> None:
    """It is named, as information: for the container it is harmless, for whoever follows it from the host it is not."""
    *_, upper = store(tmp_path, [BASE], container=True)
    (upper / "tmp").mkdir()
    (upper / "tmp/trap").symlink_to("../../etc/shadow")
    (upper / "tmp/fine").symlink_to("../etc/conf")
    (upper / "tmp/absolute").symlink_to("/../etc/conf")
    (finding,) = look(tmp_path)
    assert (finding["code"], finding["severity"], finding["subject"]) == ("escaping-symlink", "info", upper.parent.name)
    assert [link["path"] for link in finding["evidence"]["links"]] == ["tmp/absolute", "tmp/trap"]


def test_nothing_is_said_about_a_chain_that_is_not_whole(tmp_path: Path) -> None:
    """With a layer's directory gone every link would dangle: that layer is the damage."""
    base, upper = store(tmp_path, [BASE, {"lib/alias": Symlink("libc.so.6")}])
    base.rename(base.with_name("elsewhere"))
    (upper / "added").touch()
    assert {finding["code"] for finding in look(tmp_path)} == {"layer-missing", "layer-content-modified"}
