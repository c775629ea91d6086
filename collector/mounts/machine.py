"""The machine's mounts and open files, read for one look or kept for a recorder.

``look`` adds to a survey what the kernel holds of its store. It is off, with the reason said, when ``/proc`` is unreadable, when the
filesystem of the store is mounted read-only (a dead disk, an image store on shared media), or when no mount namespace of that ``/proc``
has the store (another machine's).

A recorder keeps what was read for a while, as a reading follows every burst of changes: mount tables until ``mountinfo`` of process 1
says that it changed (poll(2), POLLPRI) or ``TABLE_SECONDS`` passed, open files for ``FILES_SECONDS``. It also remembers which layer an
overlay's device was of, so that files which are still held after the overlay is mounted nowhere are told with their layer.
"""

from __future__ import annotations

import os
import select
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from collector.links import Link, LinkKind, Problem, StoreKind, Survey
from collector.mounts.holders import OpenFiles, read_open_files
from collector.mounts.kernel import statfs
from collector.mounts.links import MOUNTS, OPEN_FILES, Attribution, MountLinks, open_file_links
from collector.mounts.namespaces import Namespaces, read_namespaces
from collector.mounts.places import OWN_TABLE, Places, Position, mounted_at_root
from collector.mounts.recorded import recorded_mounts, usual_run_roots
from collector.stores.roots import configured_run_roots
from linktrail.clock import NANOSECONDS, Clock

PROC: Final = Path("/proc")
HOST_PROC: Final = Path("/host/proc")
OFF: Final = Path("off")
TABLE_SECONDS: Final = 10.0
DUTY: Final = 0.05  # the share of time that may go into reading mount tables because they changed
FILES_SECONDS: Final = 60.0
_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one store. ``off`` says why nothing was looked at, ``partly`` what could not be seen.

    ``root_mount`` is what is mounted at its root itself, if anything.
    """

    links: tuple[Link, ...] = ()
    namespaces: int = 0
    root_mount: str | None = None
    off: str | None = None
    partly: str | None = None
    truncated: bool = False  # there are more mounts than are read: one that is not here may stand all the same

    def document(self) -> dict[str, object]:
        """Return the entry of ``mounts`` in the document of a check."""
        if self.off is not None:
            return {"read": False, "why": self.off}
        return {"read": True, "namespaces": self.namespaces, **({"unread": self.partly} if self.partly else {})}


def usual_proc() -> Path:
    """Return where the host's processes are: ``/host/proc`` where a pod has it mounted, else ``/proc``."""
    return HOST_PROC if (HOST_PROC / "1").is_dir() else PROC


class Machine:
    """The mount tables and open files below one ``/proc``."""

    def __init__(self, proc: Path, clock: Clock, *, keep: bool = False, run_roots: Sequence[Path] | None = None) -> None:
        """Read below ``proc`` (``OFF``: nothing); ``keep`` what was read for a while, as a recorder does.

        ``run_roots`` are those of containers/storage (default: this machine's).
        """
        self._run_roots = run_roots
        self._proc = proc
        self._clock = clock
        self._keep = keep
        self._namespaces: tuple[int, Namespaces] | None = None  # when read (monotonic ns)
        self._files: tuple[int, OpenFiles] | None = None
        self._remembered: OrderedDict[str, str] = OrderedDict()
        self._overlays: dict[str, frozenset[str]] = {}  # devices, by store
        self._not_before = 0  # monotonic ns
        self._went: int | None = None  # when an overlay of a store was found gone (monotonic ns)
        self._watch: select.poll | None = None
        self._watched: list[int] = []

    def look(self, survey: Survey) -> Seen:
        """Return the mounts and the held deleted files of the store of ``survey``. Never raises."""
        if self._proc == OFF:
            return Seen(off="switched off (--proc off)")
        began = self._clock.now().monotonic
        seen = replace(self._look(survey), root_mount=mounted_at_root(survey))
        now = self._clock.now().monotonic
        self._not_before = now + round((now - began) / DUTY)
        return seen

    def _look(self, survey: Survey) -> Seen:
        position = Position.of(survey)
        if position is None:
            return Seen(off="the directory of its layers is in no mount table")
        if position.read_only:
            return Seen(off="its filesystem is mounted read-only, so no engine of this machine writes to it")
        namespaces = self._tables()
        if not namespaces.all:
            return Seen(off=f"{self._proc} cannot be read: {namespaces.unread}")
        names = position.names(namespaces)
        if not names:
            return Seen(off=f"no mount namespace below {self._proc} has it")
        places = Places(survey, names)
        mounts = MountLinks(places, position, namespaces)
        files = self._open_files(survey.root, frozenset(mounts.layers))
        used = self._geometry(survey) if mounts.links or _bound(namespaces, names) else None
        found = Attribution(mounts, places, position, Position.of_root(survey), self._remembered, used)
        recorded = recorded_mounts(places, self._known_run_roots()) if survey.kind is StoreKind.CONTAINERS_STORAGE else ()
        links = (*mounts.links, *recorded, *open_file_links(files, found))
        self._remember(mounts)
        return Seen(links, len(namespaces.all), partly=namespaces.unread or files.unread, truncated=namespaces.unread is not None)

    def changed(self) -> bool:
        """Tell whether the mount table of process 1, or of this one, changed since it was last asked; the first answer is no.

        On a machine that mounts all the time the answer waits, in proportion to what a look costs (``DUTY``).
        """
        if self._proc == OFF:
            return False
        if self._watch is None:
            self._watch = select.poll()
            for table in (self._proc / "1/mountinfo", OWN_TABLE):
                try:
                    descriptor = os.open(table, os.O_RDONLY | os.O_CLOEXEC)
                except OSError:  # the periodic readings still see it
                    continue
                self._watched.append(descriptor)
                self._watch.register(descriptor, select.POLLPRI)
            self._watch.poll(0)
            return False
        if self._clock.now().monotonic < self._not_before or not self._watch.poll(0):
            return False
        self.forget_tables()
        return True

    def forget_tables(self) -> None:
        """Read the mount tables again at the next look, whatever their age."""
        self._namespaces = None

    def close(self) -> None:
        """Let go of the mount tables that are watched."""
        for descriptor in self._watched:
            os.close(descriptor)
        self._watched.clear()
        self._watch = None

    def _known_run_roots(self) -> Sequence[Path]:
        if self._run_roots is None:
            self._run_roots = usual_run_roots(configured_run_roots())
        return self._run_roots

    def _tables(self) -> Namespaces:
        now = self._clock.now().monotonic
        if self._namespaces is None or not self._keep or now - self._namespaces[0] > TABLE_SECONDS * NANOSECONDS:
            self._namespaces = (now, read_namespaces(self._proc))
        return self._namespaces[1]

    def _open_files(self, root: str, overlays: frozenset[str]) -> OpenFiles:
        """Return the open files; when an overlay of the store went, somebody may still hold files of it.

        Engines unmount first and delete a moment later, so for a while after that they are read at every look.
        """
        now = self._clock.now().monotonic
        if self._overlays.get(root, overlays) - overlays:
            self._went = now
        self._overlays[root] = overlays
        recently = self._went is not None and now - self._went < FILES_SECONDS * NANOSECONDS
        if self._files is None or not self._keep or recently or now - self._files[0] > FILES_SECONDS * NANOSECONDS:
            self._files = (now, read_open_files(self._proc))
        return self._files[1]

    def _remember(self, mounts: MountLinks) -> None:
        for device in {mount.device for mount in mounts.ids.values()} & self._remembered.keys() - mounts.layers.keys():
            del self._remembered[device]  # the kernel gave the number to another filesystem
        for device, layer in mounts.layers.items():
            self._remembered[device] = layer
            self._remembered.move_to_end(device)
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)

    @staticmethod
    def _geometry(survey: Survey) -> tuple[int, int, int] | None:
        try:
            return statfs(survey.root).geometry
        except OSError:
            return None


def with_seen(survey: Survey, seen: Seen, *, record: bool = False) -> Survey:
    """Return ``survey`` with what was seen. For the ``record``, what was not looked at counts as unread: it is not claimed to be gone."""
    problems = survey.problems
    unknown = seen.off or (seen.partly if seen.truncated else None)
    if record and unknown is not None:
        problems = (*problems, Problem(MOUNTS, unknown), Problem(OPEN_FILES, unknown))
    roots = (
        replace(link, detail={**link.detail, "mounted": seen.root_mount})
        for link in survey.of_kind(LinkKind.STORE_ROOT)
        if seen.root_mount is not None
    )
    links = MappingProxyType({**survey.links, **{link.key: link for link in (*roots, *seen.links)}})
    return replace(survey, links=links, problems=problems)


def as_seen(survey: Survey, seen: Seen) -> bool:
    """Tell whether the mounts in ``survey`` are those that were ``seen`` later."""
    told = {link.detail.get("mounted") for link in survey.of_kind(LinkKind.STORE_ROOT)}
    same_root = not told or told == {seen.root_mount}
    return seen.off is not None or (same_root and _mounts(survey.links.values()) == _mounts(seen.links))


def _mounts(links: Iterable[Link]) -> frozenset[Link]:
    return frozenset(link for link in links if link.kind is LinkKind.MOUNT)


def _bound(namespaces: Namespaces, names: tuple[str, ...]) -> bool:
    """Tell whether the directory of the layers is a mount point of its own: engines of root users bind it to itself."""
    return any(mount.point in names for space in namespaces.all for mount in space.mounts)
