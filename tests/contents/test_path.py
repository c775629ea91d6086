"""``whatis``: what a path is in each layer of a chain, in all three kinds of store. (What is seen: see ``test_kernel``.)"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from collector.whatis import what_is
from linktrail.command import main
from linktrail.testing.clock import FakeClock
from linktrail.testing.containers_storage import StoreBuilder, finish
from linktrail.testing.layer_tar import Entry, Layer, Symlink, Whiteout, layer_ids
from tests.containers_storage.made import Made
from tests.contents.scene import NAME, store
from tests.contents.test_containerd import build
from tests.docker_store.build import Small
from tests.needs import need
from tests.stores import archived, unpack

BASE: dict[str, Entry] = {"usr/lib/libc": b"c", "lib": Symlink("usr/lib"), "etc/conf": b"x"}
OVER: dict[str, Entry] = {"lib/own": b"o"}
LAYERS = {
    "e00_healthy": "overlay/*/diff",
    "docker": "overlay2/*/diff",
    "containerd": "io.containerd.snapshotter.v1.overlayfs/snapshots/*/fs",
}


def ask(root: Path, path: str, **options: Any) -> list[dict[str, Any]]:
    """Return the chains of the answer."""
    report = what_is(path, [root], clock=FakeClock(), configurations=(), **options)
    ((store),) = report.document()["stores"]
    chains: list[dict[str, Any]] = store["chains"]
    return chains


def rows(chain: dict[str, Any]) -> list[tuple[int, str, str, str | None]]:
    """Return number, kind, place and target of the rows."""
    return [(row["number"], row["kind"], row["at"], row["target"]) for row in chain["layers"]]


def test_a_directory_over_a_link_and_the_link_that_is_hidden(tmp_path: Path) -> None:
    """Both are named with their layers; what the link led to is not seen under that path any more."""
    base, over = (diff.parent.name for diff in store(tmp_path, [BASE, OVER]))
    (chain,) = ask(tmp_path, "/lib")
    assert rows(chain) == [(2, "directory", "lib", None), (1, "symlink", "lib", "usr/lib")]
    assert [row["layer"] for row in chain["layers"]] == [over, base]
    assert chain["seen"] == {"kind": "directory", "path": "lib", "layer": over}
    (change,) = chain["changes"]
    assert (change["path"], change["upper"]["layer"], change["lower"]["layer"]) == ("lib", over, base)
    assert change["message"] == (
        f"lib is a symbolic link (to usr/lib) in layer {base} (number 1) and a directory in layer {over} (number 2) above it: "
        "the directory hides the symbolic link, so what it leads to is not seen at lib."
    )
    (chain,) = ask(tmp_path, "lib/libc")
    assert rows(chain) == [(1, "symlink", "lib", "usr/lib")]
    assert chain["seen"] == {"kind": "absent", "path": "lib/libc", "layer": None}
    assert [change["path"] for change in chain["changes"]] == ["lib"]


def test_a_link_over_a_directory(tmp_path: Path) -> None:
    """The reverse: the directory with all that is in it is hidden, and a path below it is seen where the link leads."""
    real: dict[str, Entry] = {"usr/lib/libc": b"c", "lib/libc": b"old"}
    base, over = (diff.parent.name for diff in store(tmp_path, [real, {"lib": Symlink("usr/lib")}]))
    (chain,) = ask(tmp_path, "lib/libc")
    assert rows(chain) == [(2, "symlink", "lib", "usr/lib"), (1, "file", "lib/libc", None), (1, "file", "usr/lib/libc", None)]
    assert chain["seen"] == {"kind": "file", "path": "usr/lib/libc", "layer": base}
    assert "above it: the symbolic link hides the directory, with all that the layers below have in it." in chain["changes"][0]["message"]
    assert chain["changes"][0]["upper"]["layer"] == over


def test_what_was_removed_on_purpose_is_no_change_of_kind(tmp_path: Path) -> None:
    """A whiteout is told as what it is, and hides the path."""
    need("root")
    *_, over = store(tmp_path, [BASE, {"lib": Whiteout()}, OVER])
    chains = ask(tmp_path, "lib")
    assert rows(chains[0]) == [(3, "directory", "lib", None), (2, "whiteout", "lib", None), (1, "symlink", "lib", "usr/lib")]
    assert chains[0]["changes"] == []
    shutil.rmtree(over / "lib")
    (chain,) = ask(tmp_path, "lib")
    assert chain["seen"]["kind"] == "absent"


@pytest.mark.parametrize("attribute", ["trusted.overlay.opaque", "user.fuseoverlayfs.opaque"])
def test_an_opaque_directory_is_told(attribute: str, tmp_path: Path) -> None:
    """An engine that unpacks over the layers below marks the directory that takes the place of a link so."""
    need("root")
    _, over = store(tmp_path, [BASE, OVER])
    os.setxattr(over / "lib", attribute, b"y")
    (chain,) = ask(tmp_path, "lib")
    assert [row["opaque"] for row in chain["layers"]] == [True, False]
    assert len(chain["changes"]) == 1


def test_chains_that_are_alike_are_told_once_with_all_their_users(tmp_path: Path) -> None:
    """Two images and a container on one base: one answer; --in asks of one of them."""
    builder = StoreBuilder(tmp_path)
    finish(builder.pull("localhost/one:1", [Layer(BASE), Layer({"srv/1": b"1"})]))
    finish(builder.pull("localhost/two:1", [Layer(BASE), Layer({"srv/2": b"2"})]))
    container = finish(builder.create("localhost/two:1", "web", pod=("shop", "web-1")))
    (chain,) = ask(tmp_path, "lib")
    assert sorted(name for image in chain["images"] for name in image["names"]) == ["localhost/one:1", "localhost/two:1"]
    assert [(found["id"], found["k8s_pod_name"]) for found in chain["containers"]] == [(container, "web-1")]
    for inside in ("localhost/two:1", layer_ids([Layer(BASE), Layer({"srv/2": b"2"})])[1][:12], "shop/web-1", container[:12], "web"):
        if len(inside) >= 6:
            (chain,) = ask(tmp_path, "srv/2", inside=inside)
            assert rows(chain) == [(2, "file", "srv/2", None)]
    assert ask(tmp_path, "srv/2", inside="localhost/one:1") == []


def test_what_is_mounted_over_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A container's own mounts, and what every runtime mounts, are seen in place of the layers."""
    builder = StoreBuilder(tmp_path)
    finish(builder.pull(NAME, [Layer({"etc/hosts": b"x", "proc/left": b"p", "data": Symlink("srv")})]))
    container = finish(builder.create(NAME, "one"))
    userdata = tmp_path / "overlay-containers" / container / "userdata"
    userdata.mkdir(parents=True, exist_ok=True)
    (userdata / "config.json").write_text(json.dumps({"mounts": [{"destination": "/etc/hosts"}, {"destination": "/srv"}]}))
    chains = ask(tmp_path, "/etc/hosts")
    assert [(chain["mounted"], len(chain["images"]), len(chain["containers"])) for chain in chains] == [(None, 1, 0), ("etc/hosts", 0, 1)]
    assert [chain["mounted"] for chain in ask(tmp_path, "proc/left")] == ["proc"]
    assert [(chain["seen"]["path"], chain["mounted"]) for chain in ask(tmp_path, "data/x")] == [("srv/x", None), ("srv/x", "srv")]
    assert main(["whatis", "/etc/hosts", str(tmp_path)]) == 0
    assert "Seen: nothing of the layers: in a running container something is mounted at etc/hosts." in capsys.readouterr().out


def test_docker_and_containerd(tmp_path: Path) -> None:
    """The same answer where layers stand in directories of another name."""
    docker = Small(tmp_path / "docker")
    (docker.place(docker.base) / "diff/lib").symlink_to("usr/lib")
    (docker.place(docker.top) / "diff/lib").mkdir()
    chain = next(chain for chain in ask(tmp_path / "docker", "lib") if chain["changes"])
    assert [(row["layer"], row["kind"]) for row in chain["layers"]] == [(docker.top, "directory"), (docker.base, "symlink")]
    assert chain["layers"][0]["directory"] == f"overlay2/{docker.place(docker.top).name}/diff"
    assert [image["names"] for image in chain["images"]] == [["lab/app:1"]]
    assert chain["containers"]
    build(tmp_path / "containerd", layers=(Layer(BASE), Layer(OVER)))
    (chain,) = ask(tmp_path / "containerd", "lib")
    assert rows(chain) == [(2, "directory", "lib", None), (1, "symlink", "lib", "usr/lib")]
    assert len(chain["changes"]) == 1
    assert [image["names"] for image in chain["images"]] == [["example.org/app:1"]]


def test_layers_of_an_additional_store(tmp_path: Path) -> None:
    """An image of a read-only store is looked at where its layers are."""
    shared, own = Made(tmp_path / "shared"), Made(tmp_path / "own")
    base = [shared.layer() for _ in range(3)][-1]  # the first has the id that the first of the other store has
    (shared.root / "overlay" / base / "diff/lib").symlink_to("usr/lib")
    shared.image("localhost/shared:1", base)
    top = own.layer(base)
    (own.root / "overlay" / top / "diff/lib").mkdir()
    own.container("one", top, "0" * 64)
    shared.save()
    own.save()
    (chain,) = ask(own.root, "lib", additional_stores=[shared.root])
    assert rows(chain) == [(2, "directory", "lib", None), (1, "symlink", "lib", "usr/lib")]


def test_a_layer_that_is_gone_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is seen cannot be known then; exit code 1."""
    base, _ = store(tmp_path, [BASE, OVER])
    shutil.rmtree(base.parent)
    assert main(["whatis", "lib", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert f"error: layer {base.parent.name} could not be looked into: no such file or directory" in text
    assert "Seen: not known, as not every layer could be looked into." in text


def test_names_are_hostile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Escapes in a target do not reach the terminal, bytes that are no text not the document."""
    (diff,) = store(tmp_path, [{"etc/conf": b"x"}])
    (diff / "etc/evil").symlink_to("\x1b[31mred\udcff")
    assert main(["whatis", "/etc/evil", str(tmp_path)]) == 0
    assert "symlink -> \\x1b[31mred\\xff" in capsys.readouterr().out
    assert main(["whatis", "/etc/evil", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stores"][0]["chains"][0]["layers"][0]["target"] == "\x1b[31mred\\xff"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["/"], 2, "name a path below the root"),
        (["a/../.."], 2, "name a path below the root"),
        (["a\0b"], 2, "name a path below the root"),
        (["etc", "--in", "short"], 2, "at least 6 characters"),
        (["etc", "--in", "localhost/other:1"], 1, "No image, container or layer is called localhost/other:1"),
    ],
)
def test_bad_input(arguments: list[str], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One message that says what to name."""
    store(tmp_path, [BASE])
    assert main(["whatis", arguments[0], str(tmp_path), *arguments[1:]]) == code
    assert words in capsys.readouterr().err


def test_no_store_and_no_such_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No store: exit code 10. A path that no layer has, or a name too long for any: an answer."""
    assert main(["whatis", "etc", str(tmp_path)]) == 10
    store(tmp_path, [BASE])
    capsys.readouterr()
    for path in ("srv/none", "x" * 300, "lib/" * 3000):
        assert main(["whatis", path, str(tmp_path)]) == 0
    assert "No layer of the images and containers in" in capsys.readouterr().out
    assert main(["whatis", "etc/conf", str(tmp_path), "--in", NAME]) == 0


@pytest.mark.parametrize("fixture", ["e00_healthy", "docker/00-healthy", "containerd/00-healthy-2images-1container"])
def test_real_stores(fixture: str, tmp_path: Path) -> None:
    """Stores of real engines, read to their last layer."""
    need("root")
    if not archived(fixture):
        need("fixtures")
    root = unpack(fixture, tmp_path)
    names = {name for layer in root.glob(LAYERS[fixture.partition("/")[0]]) for name in layer.iterdir()}
    assert names
    for name in {path.name for path in names}:
        report = what_is(name, [root], clock=FakeClock(), configurations=())
        assert report.unread == []
        assert report.stores[0][1], name
