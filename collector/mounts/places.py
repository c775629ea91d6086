"""Under which names the kernel speaks of a store's layers, and which layer such a name means.

Mount options hold paths as the engine wrote them, in the mount namespace that it lives in; linktrail may see the same directory under
another name (``/host/var/lib/...`` in a pod, a bind mount, a root that is a link). What is the same for all is the filesystem and the path
within it. So the store is found in the mount table of this process, by the mount that its open directory lies on, and from there its
names in every namespace.

An overlay's lower directories may be relative (``l/ABC``, ``12/fs``): to where its mounter stood, which no table tells. For an overlay
that is known to be of this store by its upper directory or its mount point, that was the directory of the layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from collector.graph import LAYER_HOME
from collector.links import Link, LinkKind, LinkState, Survey
from collector.mounts.mountinfo import TABLE_BYTES, Mount, below, parse, within
from collector.mounts.namespaces import Namespaces
from collector.safe import Directory, open_root
from linktrail.errors import StoreError

SHORT_LINKS: Final = "l"
OWN_TABLE: Final = Path("/proc/self/mountinfo")


class Position:
    """Where the layers of a store lie: filesystem (``major:minor``) and path within it."""

    def __init__(self, device: str, path: str, *, read_only: bool) -> None:
        """Lie at ``path`` of ``device``, on a mount that may be ``read_only``."""
        self.device = device
        self.path = path
        self.read_only = read_only

    @classmethod
    def of(cls, survey: Survey) -> Position | None:
        """Find the directory of the layers; ``None`` when there is none, or no mount table tells. Never raises."""
        return cls._of(survey, LAYER_HOME[survey.kind].split("/"))

    @classmethod
    def of_root(cls, survey: Survey) -> Position | None:
        """Find the root of the store itself, below which engines keep more than layers. Never raises."""
        return cls._of(survey, [])

    @classmethod
    def _of(cls, survey: Survey, steps: list[str]) -> Position | None:
        try:
            with open_root(Path(survey.root)) as root, root.directory(*steps) as home:
                mount = _mount_of(home)
                path = str(Path(f"/proc/self/fd/{home.fd}").readlink())
        except (OSError, StoreError):  # a store that is gone is told by its survey
            return None
        rest = None if mount is None else below(mount.point, path)
        if mount is None or rest is None:
            return None
        inside = f"{mount.root.rstrip('/')}/{rest}".rstrip("/") if rest else mount.root
        return cls(mount.device, inside, read_only=mount.read_only)

    def names(self, namespaces: Namespaces) -> tuple[str, ...]:
        """Return all names of the directory in these namespaces, those of the first one first."""
        return tuple(dict.fromkeys(name for space in namespaces.all for name in within(space.mounts, self.device, self.path)))


class Places:
    """From a path, as an overlay's options or an open file name it, to the place and layer that it lies in."""

    def __init__(self, survey: Survey, names: Iterable[str]) -> None:
        """Know the layers of ``survey`` by the ``names`` of the directory that they lie in."""
        self.names = tuple(names)
        self.directories: dict[str, Link] = {link.subject: link for link in survey.of_kind(LinkKind.LAYER_DIRECTORY)}
        self._records = {link.target or link.subject: link for link in survey.of_kind(LinkKind.LAYER_RECORD)}
        self._short = {link.target: link.subject for link in survey.of_kind(LinkKind.LINK_FILE) if link.target}
        shorts = (link for link in survey.of_kind(LinkKind.SHORT_LINK) if link.layer_id and link.state is LinkState.PRESENT)
        self._short |= {link.subject: link.layer_id for link in shorts if link.layer_id}

    def place(self, path: str, *, relative: bool = False) -> str | None:
        """Return the place that ``path`` lies in; a ``relative`` one is taken as from the directory of the layers."""
        if path.startswith("/"):
            rests = (below(name, path) for name in self.names)
            path = next((rest for rest in rests if rest), "")
        elif not relative:
            return None
        first, _, rest = path.removeprefix("./").partition("/")
        if first == SHORT_LINKS and SHORT_LINKS not in self.directories:
            return self._short.get(rest.partition("/")[0])
        return first if first not in {"", ".", ".."} else None

    def layer(self, place: str) -> str:
        """Return the layer at a place, as records name it; the place itself where none does."""
        record = self._records.get(place)
        if record is not None:
            return record.subject
        directory = self.directories.get(place)
        return directory.layer_id or place if directory is not None else place

    def link(self, place: str) -> Link | None:
        """Return what says most about the place: its record, else its directory."""
        return self._records.get(place) or self.directories.get(place)


def mounted_at_root(survey: Survey) -> str | None:
    """Return what is mounted at the root of the store itself (``device path``): a filesystem of its own, or a bind mount; else ``None``."""
    try:
        with open_root(Path(survey.root)) as root:
            mount = _mount_of(root)
            return f"{mount.device} {mount.root}" if mount is not None and mount.point == str(root.path) else None
    except (OSError, StoreError):
        return None


def _mount_of(directory: Directory) -> Mount | None:
    """Return the mount of this process's namespace that an open directory lies on. Raises ``OSError``."""
    number = _mount_id(directory.fd)
    with OWN_TABLE.open("rb") as file:
        return next((mount for mount in parse(file.read(TABLE_BYTES)).mounts if mount.id == number), None)


def _mount_id(descriptor: int) -> int:
    """Return the id of the mount that an open directory lies on. Raises ``OSError``."""
    for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "mnt_id":
            return int(value)
    raise FileNotFoundError(f"/proc/self/fdinfo/{descriptor}: no mnt_id")
