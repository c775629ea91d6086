"""Where engines keep their stores when not at the usual place: what their own configuration says, and the homes of users.

Read are, below ``host`` (``/``, or where a pod has the host's filesystem):

* containers/storage: ``graphroot``, ``rootless_storage_path`` and ``runroot`` of storage.conf(5), ``root`` and ``runroot`` of crio.conf(5),
  and for each user the ``graphroot`` of ``~/.config/containers/storage.conf``
* containerd: ``root`` of config.toml and of the files it imports; ``data-dir`` of k3s and RKE2 (of their YAML this one key alone)
* Docker: ``data-root`` (once ``graph``) of daemon.json, that of the snap, and those of rootless users; below it Docker's own containerd

A file that cannot be understood is one warning, and hides nothing else. Files of users are never reached through a link, for this runs as
root over what others write; those of the administrator may be links. Bounded: ``FILE_BYTES`` a file, ``USER_LIMIT`` users.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from collector.links import LinkState, StoreKind
from collector.safe import Content, open_root
from linktrail.errors import ConfigurationError, StoreError

FILE_BYTES: Final = 1 << 20
USER_LIMIT: Final = 10_000
_IMPORT_LIMIT: Final = 100
_ROOT: Final = Path("/")
_PASSWD_FIELDS: Final = 7
_DATA_DIR: Final = re.compile(rb"""^["']?data-dir["']?\s*:\s*(?:"([^"\n]*)"|'([^'\n]*)'|([^\s#][^#\n]*?))\s*(?:#.*)?$""", re.MULTILINE)
_STORAGE: Final = ("etc/containers/storage.conf", "usr/share/containers/storage.conf")
_CRIO: Final = ("etc/crio/crio.conf", "etc/crio/crio.conf.d/*")
_CONTAINERD: Final = ("etc/containerd/config.toml", "etc/containerd/conf.d/*.toml")
_RANCHER: Final = ("etc/rancher/k3s/config.yaml", "etc/rancher/rke2/config.yaml", "etc/rancher/k3s/config.yaml.d/*.yaml")
_DOCKER: Final = ("etc/docker/daemon.json", "var/snap/docker/current/config/daemon.json")
_SNAP_DOCKER: Final = "/var/snap/docker/common/var-lib-docker"
_IN_HOME: Final = {
    StoreKind.CONTAINERS_STORAGE: ".local/share/containers/storage",
    StoreKind.DOCKER_OVERLAY2: ".local/share/docker",
    StoreKind.CONTAINERD_OVERLAYFS: ".local/share/containerd",
}

Warn = Callable[[ConfigurationError], None]


class Configured(NamedTuple):
    """A root that configuration, or the home of a user, gives to a kind of store; nothing need be there."""

    kind: StoreKind
    root: Path


class User(NamedTuple):
    """Somebody who may run rootless engines."""

    name: str
    number: str
    home: str


def ignore(error: ConfigurationError) -> None:
    """Tell nobody."""
    del error


def configured_roots(warn: Warn, *, host: Path = _ROOT, environment: Mapping[str, str] = os.environ) -> tuple[Configured, ...]:
    """Return the roots that this machine's configuration names, each once; what cannot be understood is told to ``warn``.

    For the root user those of all users, else those of the user of ``environment`` (HOME, XDG_DATA_HOME, XDG_CONFIG_HOME).
    """
    found = dict.fromkeys(_Reader(host, warn, environment).roots())
    return tuple(Configured(kind, host / root.relative_to(root.anchor)) for kind, root in found)  # "//" of a home that is "/"


def configured_run_roots(*, host: Path = _ROOT) -> tuple[Path, ...]:
    """Return the run roots of containers/storage that configuration names (``runroot``); what is garbage is told with the roots."""
    return tuple(dict.fromkeys(host / root.relative_to(root.anchor) for root in _Reader(host, ignore, {}).run_roots()))


class _Reader:
    """One look at the configuration below ``host``."""

    def __init__(self, host: Path, warn: Warn, environment: Mapping[str, str]) -> None:
        self.host = host
        self.warn = warn
        self.environment = environment

    def roots(self) -> Iterator[Configured]:
        users = self._users()
        yield from self._storage(users)
        yield from self._containerd()
        yield from self._docker()
        for user in users:
            yield from self._of_user(user)
        if data := self.environment.get("XDG_DATA_HOME", ""):
            for kind, place in _IN_HOME.items():
                yield from _root(kind, f"{data}/{place.removeprefix('.local/share/')}")

    def run_roots(self) -> Iterator[Path]:
        for patterns, table in ((_STORAGE, "storage"), (_CRIO, "crio")):
            for path, document in self._documents(patterns, tomllib.loads):
                named = self._named(StoreKind.CONTAINERS_STORAGE, _table(document, table).get("runroot"), path)
                yield from (configured.root for configured in named)

    def _storage(self, users: Iterable[User]) -> Iterator[Configured]:
        kind = StoreKind.CONTAINERS_STORAGE
        for path, document in self._documents(_STORAGE, tomllib.loads):
            storage = _table(document, "storage")
            yield from self._named(kind, storage.get("graphroot"), path)
            if rootless := storage.get("rootless_storage_path"):
                for user in users:
                    yield from self._named(kind, _expanded(rootless, user), path)
        for path, document in self._documents(_CRIO, tomllib.loads):
            yield from self._named(kind, _table(document, "crio").get("root"), path)

    def _containerd(self) -> Iterator[Configured]:
        kind = StoreKind.CONTAINERD_OVERLAYFS
        imports: list[str] = []
        for path, document in self._documents(_CONTAINERD, tomllib.loads):
            yield from self._named(kind, document.get("root"), path)
            patterns = document.get("imports", [])
            base = path.parent.relative_to(self.host)
            imports += (
                [str(base / pattern).lstrip("/") for pattern in patterns if isinstance(pattern, str)] if isinstance(patterns, list) else []
            )
        for path, document in self._documents(imports[:_IMPORT_LIMIT], tomllib.loads):
            yield from self._named(kind, document.get("root"), path)
        for path, content in self._files(_RANCHER):
            for value in _DATA_DIR.findall(content.data):
                yield from self._named(kind, f"{os.fsdecode(b''.join(value))}/agent/containerd", path)

    def _docker(self) -> Iterator[Configured]:
        yield Configured(StoreKind.DOCKER_OVERLAY2, Path(_SNAP_DOCKER))
        yield Configured(StoreKind.CONTAINERD_OVERLAYFS, Path(_SNAP_DOCKER) / "containerd/daemon")
        for path, document in self._documents(_DOCKER, json.loads):
            yield from self._data_root(document, path)

    def _data_root(self, document: Mapping[str, Any], path: Path) -> Iterator[Configured]:
        for key in ("data-root", "graph"):
            for configured in self._named(StoreKind.DOCKER_OVERLAY2, document.get(key), path):
                yield configured
                yield Configured(StoreKind.CONTAINERD_OVERLAYFS, configured.root / "containerd/daemon")

    def _of_user(self, user: User) -> Iterator[Configured]:
        for kind, place in _IN_HOME.items():
            yield from _root(kind, f"{user.home}/{place}")
        own = self.environment.get("XDG_CONFIG_HOME", "") if user.home == self.environment.get("HOME") else ""
        base, steps = (own, ()) if own else (user.home, (".config",))
        for place, parse in (("containers/storage.conf", tomllib.loads), ("docker/daemon.json", json.loads)):
            directory, _, name = place.partition("/")
            path = self._below(base).joinpath(*steps, place)
            document = self._understood(path, self._of_home(base, (*steps, directory), name), parse)
            graph_root = _table(document, "storage").get("graphroot")
            yield from self._named(StoreKind.CONTAINERS_STORAGE, _expanded(graph_root, user), path)
            yield from self._data_root(document, path)

    # --- files ------------------------------------------------------------------------------------------------------

    def _documents(self, patterns: Iterable[str], parse: Callable[[str], Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
        for path, content in self._files(patterns):
            yield path, self._understood(path, content, parse)

    def _files(self, patterns: Iterable[str]) -> Iterator[tuple[Path, Content]]:
        """Read the files of the administrator that there are, in order."""
        for pattern in patterns:
            for path in self._matching(pattern):
                content = self._read(Path(os.path.realpath(path)))
                if content.state in (LinkState.UNREADABLE, LinkState.MALFORMED):
                    self.warn(ConfigurationError(path=path, what=content.error))
                else:
                    yield path, content

    def _matching(self, pattern: str) -> list[Path]:
        try:
            return sorted(islice(self.host.glob(pattern), _IMPORT_LIMIT))
        except (ValueError, OSError) as error:  # a pattern that is none, as an import may be
            self.warn(ConfigurationError(path=self.host / pattern, what=error))
            return []

    @staticmethod
    def _read(path: Path) -> Content:
        try:
            with open_root(path.parent) as directory:
                return directory.read(path.name, FILE_BYTES)
        except (StoreError, OSError):
            return Content(LinkState.MISSING)

    def _of_home(self, base: str, steps: tuple[str, ...], name: str) -> Content:
        """Read a file of a user, following no link below the directory ``base``."""
        try:
            with open_root(self._below(base)) as home, home.directory(*steps) as directory:
                return directory.read(name, FILE_BYTES)
        except (StoreError, OSError):  # most users have none
            return Content(LinkState.MISSING)

    def _understood(self, path: Path, content: Content, parse: Callable[[str], Any]) -> Mapping[str, Any]:
        if not content.data or content.state is not LinkState.PRESENT:
            return {}
        try:
            document = parse(content.data.decode())
        except (ValueError, RecursionError) as error:  # JSON, TOML and text that is no UTF-8 alike
            self.warn(ConfigurationError(path=path, what=error))
            return {}
        if isinstance(document, dict):
            return document
        self.warn(ConfigurationError(path=path, what="it is no table of settings"))
        return {}

    def _named(self, kind: StoreKind, value: object, path: Path) -> Iterator[Configured]:
        """Yield the root that a setting names, if it is one; an empty setting means the usual root."""
        if value is None or value == "":
            return
        if isinstance(value, str) and value.startswith("/") and "\0" not in value:
            yield from _root(kind, value)
        else:
            self.warn(ConfigurationError(path=path, what=f"the root {value!r} is no absolute path"))

    # --- users ------------------------------------------------------------------------------------------------------

    def _users(self) -> list[User]:
        own = User(self.environment.get("USER", ""), str(os.geteuid()), self.environment.get("HOME", ""))
        users = [own] if own.home.startswith("/") and self.host == _ROOT else []
        if os.geteuid() == 0:
            users += self._passwd()
            users += [User(path.name, "", f"/home/{path.name}") for path in sorted(self.host.glob("home/*"))[:USER_LIMIT]]
        unique: dict[str, User] = {}
        for user in users:
            unique.setdefault(user.home, user)
        return list(unique.values())

    def _passwd(self) -> list[User]:
        lines = os.fsdecode(self._read(self._below("/etc/passwd")).data).splitlines()[:USER_LIMIT]
        fields = (line.split(":") for line in lines)
        return [
            User(each[0], each[2], each[5]) for each in fields if len(each) == _PASSWD_FIELDS and each[5].startswith("/") and each[5] != "/"
        ]

    def _below(self, path: str) -> Path:
        return self.host / path.lstrip("/")


def _root(kind: StoreKind, text: str) -> Iterator[Configured]:
    if text.startswith("/") and "\0" not in text and (root := Path(os.path.normpath(text))) != _ROOT:
        yield Configured(kind, root)


def _expanded(value: object, user: User) -> object:
    """Return a setting with the variables that storage.conf(5) allows in it."""
    if not isinstance(value, str):
        return value
    expanded = re.sub(r"\$(?:HOME|\{HOME\})", lambda _: user.home, value)
    expanded = re.sub(r"\$(?:USER|\{USER\})", lambda _: user.name, expanded)
    return re.sub(r"\$(?:UID|\{UID\})", lambda _: user.number, expanded)


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name, {})
    return value if isinstance(value, dict) else {}
