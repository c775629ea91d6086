"""Relocated roots: what engines' configuration names is found, and what cannot be understood is one warning."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import stores
from collector.links import StoreKind
from collector.stores import find_stores
from collector.stores.roots import configured_roots
from linktrail.errors import ConfigurationError
from tests.containers_storage.made import small
from tests.needs import need

CS, DOCKER, CONTAINERD = StoreKind.CONTAINERS_STORAGE, StoreKind.DOCKER_OVERLAY2, StoreKind.CONTAINERD_OVERLAYFS
USERS = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/srv/people/ann:/bin/sh\nbroken line\n"


def write(host: Path, path: str, text: str | bytes) -> Path:
    """Write a file of the host."""
    file = host / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def found(host: Path, **environment: str) -> tuple[set[tuple[StoreKind, str]], list[ConfigurationError]]:
    """Return the configured roots as the host writes them, and the warnings."""
    warnings: list[ConfigurationError] = []
    roots = configured_roots(warnings.append, host=host, environment=environment)
    assert len(roots) == len(set(roots))
    return {(kind, f"/{root.relative_to(host)}") for kind, root in roots}, warnings


def test_every_engine(tmp_path: Path) -> None:
    """Each setting that moves a store is understood."""
    need("root")
    write(tmp_path, "etc/passwd", USERS)
    write(tmp_path, "etc/containers/storage.conf", '[storage]\ngraphroot = "/data/cs"\nrootless_storage_path = "/scratch/$USER/$UID/cs"\n')
    write(tmp_path, "etc/crio/crio.conf.d/10-root.conf", '[crio]\nroot = "/data/crio"\n')
    write(tmp_path, "srv/people/ann/.config/containers/storage.conf", '[storage]\ngraphroot = "$HOME/big/cs"\n')
    write(tmp_path, "etc/containerd/config.toml", 'root = "/data/containerd"\nimports = ["/etc/containerd/more/*.toml"]\n')
    write(tmp_path, "etc/containerd/more/a.toml", 'root = "/data/imported"\n')
    write(tmp_path, "etc/rancher/k3s/config.yaml", 'token: x\n"data-dir": "/data/k3s" # here\nnested:\n  data-dir: /not/this\n')
    write(tmp_path, "etc/rancher/rke2/config.yaml", "data-dir: /data/rke2\n")
    write(tmp_path, "etc/docker/daemon.json", json.dumps({"data-root": "/data/docker/"}))
    write(tmp_path, "srv/people/ann/.config/docker/daemon.json", json.dumps({"data-root": "/srv/people/ann/docker"}))
    (tmp_path / "home/eve").mkdir(parents=True)
    roots, warnings = found(tmp_path)
    assert warnings == []
    assert {
        (CS, "/data/cs"),
        (CS, "/scratch/ann/1000/cs"),
        (CS, "/data/crio"),
        (CS, "/srv/people/ann/big/cs"),
        (CS, "/srv/people/ann/.local/share/containers/storage"),
        (CS, "/home/eve/.local/share/containers/storage"),
        (CONTAINERD, "/data/containerd"),
        (CONTAINERD, "/data/imported"),
        (CONTAINERD, "/data/k3s/agent/containerd"),
        (CONTAINERD, "/data/rke2/agent/containerd"),
        (CONTAINERD, "/data/docker/containerd/daemon"),
        (DOCKER, "/data/docker"),
        (DOCKER, "/srv/people/ann/docker"),
        (DOCKER, "/var/snap/docker/common/var-lib-docker"),
        (DOCKER, "/home/eve/.local/share/docker"),
    } <= roots
    assert not any("/not/this" in root for _, root in roots)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("etc/containers/storage.conf", "[storage\n"),
        ("etc/containers/storage.conf", b"\xff\xfe\x00"),
        ("etc/containers/storage.conf", '[storage]\ngraphroot = "relative"\n'),
        ("etc/containerd/config.toml", "root = 5\n"),
        ("etc/docker/daemon.json", "["),
        ("etc/docker/daemon.json", "[]"),
        ("etc/docker/daemon.json", "[" * 100_000),
        ("etc/docker/daemon.json", json.dumps({"data-root": "/a\0b"})),
        ("etc/containerd/config.toml", 'imports = ["/etc/**x"]\n'),
        ("etc/containers/storage.conf", b"#" * (2 << 20)),
    ],
)
def test_garbage_is_one_warning(tmp_path: Path, path: str, text: str | bytes) -> None:
    """It is said which file and why, and the others are still read."""
    file = write(tmp_path, path, text)
    write(tmp_path, "etc/crio/crio.conf", '[crio]\nroot = "/data/crio"\n')
    roots, warnings = found(tmp_path)
    assert len(warnings) == 1
    assert "**x" in str(text) or str(file) in warnings[0].message
    assert (CS, "/data/crio") in roots


def test_a_root_that_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON can hold text that no file can be called; nothing is there then."""
    write(tmp_path, "etc/docker/daemon.json", '{"data-root": "/a\\ud800"}')
    monkeypatch.setattr(stores, "configured_roots", lambda warn: configured_roots(warn, host=tmp_path, environment={}))
    for driver in stores.DRIVERS:
        monkeypatch.setattr(type(driver), "usual_roots", lambda self: ())  # noqa: ARG005 - the signature of the real one
    assert find_stores() == ()


def test_files_of_users_are_not_followed(tmp_path: Path) -> None:
    """A user's configuration is no link, no fifo, and never makes linktrail read elsewhere."""
    need("root")
    write(tmp_path, "etc/passwd", USERS)
    secret = write(tmp_path, "secret", '[storage]\ngraphroot = "/data/secret"\n')
    where = tmp_path / "srv/people/ann/.config/containers"
    where.mkdir(parents=True)
    (where / "storage.conf").symlink_to(secret)
    os.mkfifo(where.parent / "docker")
    roots, warnings = found(tmp_path)
    assert warnings == []
    assert not any("secret" in root for _, root in roots)


@given(st.binary(max_size=300))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """No configuration makes the search fail."""
    host = tmp_path_factory.mktemp("host")
    for path in ("etc/containers/storage.conf", "etc/rancher/k3s/config.yaml", "etc/docker/daemon.json", "etc/passwd"):
        write(host, path, data)
    found(host)


def test_each_store_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is named by two configurations and reached through a link is one store; one that is nowhere is none."""
    made = small(tmp_path / "s")
    (tmp_path / "named").symlink_to("s")
    for driver in stores.DRIVERS:
        monkeypatch.setattr(type(driver), "usual_roots", lambda self: ())  # noqa: ARG005 - the signature of the real one
    host = tmp_path / "host"
    write(host, "etc/containers/storage.conf", '[storage]\ngraphroot = "/s"\n')
    write(host, "etc/crio/crio.conf", '[crio]\nroot = "/named"\n')
    (host / "s").symlink_to(made.root)
    (host / "named").symlink_to(tmp_path / "named")
    rootless = small(host / "home/eve/.local/share/containers/storage") if os.geteuid() == 0 else None
    monkeypatch.setattr(stores, "configured_roots", lambda warn: configured_roots(warn, host=host, environment={}))
    warnings: list[ConfigurationError] = []
    assert [store.root for store in find_stores(warnings.append)] == [host / "s", *([rootless.root] if rootless else [])]
    assert warnings == []
