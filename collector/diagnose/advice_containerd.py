"""What to do about a finding in a containerd store, in containerd's own commands (ctr, crictl, nerdctl).

They rest on what containerd was seen to do: its garbage collector runs after a deletion, after a hundred changes and shortly after a
start, never by the clock alone; it removes what no root reaches, and with the first snapshot that it removes it also clears every
snapshot that only the snapshotter knows and every directory that no record names. So the least invasive step is often to let it run.
``ctr`` needs the namespace (-n) that the object is in, ``crictl`` speaks of ``k8s.io`` alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence

from collector.diagnose.advice import Advice
from collector.diagnose.containerd_store import Snapshot
from linktrail.text import printable

_COLLECT = "garbage collection takes it after the next deletion of an image, container or snapshot (an idle containerd runs none)"
_CLEAR = "containerd clears it the next time that it collects a snapshot (an idle one collects none)"
_SHOWN = 5


class ContainerdAdvice(Advice):
    """Advice for one containerd root."""

    # --- leaks ------------------------------------------------------------------------------------------------

    def unaccounted_layer(self, name: str, paths: Collection[str], *, trap: bool) -> str:
        """A directory with a number that no record has."""
        del trap  # snapshots have no link files
        return (
            f"Safe to remove if {self._unmounted(paths)}: no record names it. Next: nothing by hand; {_CLEAR}. If"
            f" directory {_word(name)} stays after one, rm -rf {' '.join(self.at(path) for path in paths)}"
        )

    def leftover_tempdir(self, path: str, name: str) -> str:
        """A directory of a snapshot in the making or on its way out."""
        del name
        return (
            f"Safe to remove if {self._unmounted([path])}: no record can name it. Next: nothing by hand; {_CLEAR}. If"
            f" it stays after one, rm -rf {self.at(path)}"
        )

    def unreferenced(self, snapshot: Snapshot, children: Sequence[str]) -> str:
        """A snapshot that garbage collection would take."""
        first = f" Snapshots on top of it go first: {_words(children)}." if children else ""
        return (
            f"Safe to remove if {self._unmounted([snapshot.path])}: nothing that garbage collection counts holds it.{first}"
            f" Next: {_COLLECT}; to have it now, {_remove(snapshot)}"
        )

    def leased(self, snapshot: Snapshot, leases: Sequence[tuple[str, str]]) -> str:
        """A snapshot that only leases hold."""
        return (
            "Safe to remove once the client that took the lease has ended (a pull, a build, ctr images mount) and"
            f" {self._unmounted([snapshot.path])}. Next: {_end_leases(leases)}; that deletes what only it holds."
        )

    def labelled(self, snapshot: Snapshot, labels: Sequence[str], *, store_object: bool) -> str:
        """A snapshot that only a garbage collection label holds."""
        if store_object:
            return (
                "Safe to remove once the program that set the label has no use for it. Next: take the label off the object that bears it"
                " (ctr content label, ctr images label: NAME LABEL=), and garbage collection takes the chain."
            )
        off = " ".join(f"{_word(label)}=" for label in dict.fromkeys(labels))
        return (
            f"Safe to remove if {self._unmounted([snapshot.path])} and the program that made it (ctr snapshots prepare or view, a"
            f" scanner) has ended: garbage collection never takes what bears this label. Next: {_remove(snapshot)}; or to leave it to"
            f" garbage collection, {_ctr(snapshot)} snapshots{_by(snapshot)} label {_word(snapshot.name)} {off}"
        )

    def unpacking(self, snapshot: Snapshot, leases: Sequence[tuple[str, str]]) -> str:
        """A snapshot for an unpacking that was cut off."""
        holds = f" Next: {_end_leases(leases)}; that deletes it" if leases else f" Next: nothing by hand; {_COLLECT}"
        return (
            f"Safe to remove if no pull is running: the layer is unpacked anew by the next pull of its image, and this one is never used."
            f"{holds}. To have it now: {_remove(snapshot)}"
        )

    def half_removed(self, snapshot: Snapshot) -> str:
        """A snapshot that only the snapshotter knows."""
        return (
            f"Safe to remove if {self._unmounted([snapshot.path])}: nothing can refer to it. Next: nothing by hand (ctr cannot name it);"
            f" {_CLEAR}, with directory {snapshot.number or 'and all'}."
        )

    def leftover_ingest(self, namespace: str | None, name: str, path: str | None, *, recorded: bool) -> str:
        """A download that never ended."""
        if recorded:
            where = f" in namespace {_word(namespace)}" if namespace else ""
            return (
                f"Safe to remove if no pull is running{where}: a new pull of the same blob goes on from it. Next: pull that image again"
                f" (reference {_word(name)}), or nothing: once it has expired, the next garbage collection takes it."
            )
        return f"Safe to remove if no pull is running: no record names it. Next: while none runs, rm -rf {self.at(path or '')}"

    # --- breaks -----------------------------------------------------------------------------------------------

    def metadata_unreadable(self, path: str) -> str:
        """A bolt database that does not parse, or is gone."""
        return (
            "Remove nothing and do not restart containerd: it may still hold the content, and without it starts over with an"
            f" empty one. Next: copy {self.at(path)} and what lies beside it, then put back a copy from a backup, or drain the node and"
            " rebuild this containerd root."
        )

    def cycle(self) -> str:
        """A snapshot that is its own ancestor."""
        return (
            "Remove nothing: containerd may loop over these records. Next: stop containerd, copy its databases, and rebuild this root from"
            " the registry: no command of containerd mends a parent."
        )

    def snapshot_missing(self, snapshot: Snapshot, images: Collection[str], containers: Collection[str], *, children: bool) -> str:
        """A record whose directory, or whose record in the snapshotter, is gone."""
        if not images and not containers:
            return f"Safe to remove: only the record is left, and no image or container needs it. Next: {_remove(snapshot)}"
        if not children and not images:
            return (
                "Nothing to save: the files of the container are gone. Next: remove it and let it be made anew (crictl rm --force, ctr"
                f" containers rm, nerdctl rm --force, or delete the pod): {_words(containers)}"
            )
        return (
            "Not safe to ignore: pulling again does not bring it back while any record of it is left. Next: remove everything that shares"
            f" it ({_words([*containers, *images])}; crictl rmi, ctr images rm), until ctr snapshots ls does not show it, then pull again."
        )

    def all_gone(self, snapshot: Snapshot) -> str:
        """Every directory of a snapshotter is gone."""
        place = self.at((snapshot.path or "").rpartition("/")[0])
        return (
            "Nothing to remove yet: all directories of the snapshotter are gone at once, as when their filesystem is not mounted. Next:"
            f" findmnt --target {place}, and mount what is missing; no command of containerd before that."
        )

    def parent_gone(self, snapshot: Snapshot, users: Collection[str]) -> str:
        """A snapshot on top of one that is not recorded."""
        what = _words(users) or "the snapshot itself"
        return f"Not safe to ignore: it cannot be mounted. Next: remove what needs it ({what}), then {_remove(snapshot)}, and pull again."

    def image_snapshot_missing(self, image: str) -> str:
        """An image whose unpacked chain is gone."""
        return (
            "Nothing to remove: the content may be whole, only what was unpacked from it is not recorded. Next: unpack it anew (ctr"
            f" images rm and pull again, or ctr images mount, or crictl pull) of {_word(image)}; what is there is not downloaded"
            " again."
        )

    def container_snapshot_missing(self, container: str) -> str:
        """A container whose snapshot is gone."""
        return (
            f"Nothing to save: its writable snapshot is gone; while it runs it sees an empty root. Next: remove it and let it be made anew"
            f" (crictl rm --force, nerdctl rm --force, ctr tasks kill and ctr containers rm): {_word(container)}"
        )

    def container_image_gone(self, container: str, image: str) -> str:
        """A container whose image has no name any more."""
        return (
            f"Not safe to remove because of this: the container keeps its snapshots and goes on working. Next: pull {_word(image)} again if"
            f" it is to be made anew, or remove container {_word(container)} when it is done with."
        )

    def phantom_child(self, snapshot: Snapshot, names: Sequence[str], *, stored: bool) -> str:
        """A children index that names what is gone."""
        if stored:
            return (
                "Not safe to remove by hand: the snapshotter refuses this snapshot and stops the collection of its whole chain. Next:"
                " nothing that a command can do; drain the node, stop containerd, and rebuild this root."
            )
        tool = f"{_ctr(snapshot)} snapshots{_by(snapshot)}"
        heal = "; ".join(f"{tool} prepare {_word(name)} {_word(snapshot.name)}; {tool} rm {_word(name)}" for name in names[:_SHOWN])
        return (
            f"Nothing to remove: no such child exists. ctr snapshots rm {_word(snapshot.name)} answers 'cannot remove snapshot with child';"
            " garbage collection is not stopped by it. Next: nothing, if the snapshot is to stay; else make each child again and"
            f" remove it by name: {heal}"
        )

    def databases_disagree(self, users: Collection[str]) -> str:
        """The two databases say different things of one snapshot."""
        what = _words(users) or "what is on it"
        return (
            "Remove nothing before the node is drained: the snapshotter mounts what its own database says, garbage collection follows"
            f" meta.db and may take a layer that is mounted. Next: remove {what} and pull again; if that fails, rebuild this root."
        )

    def blob_damaged(self, image: str) -> str:
        """Content of an image that is gone or changed."""
        return (
            "Nothing to remove: what is unpacked still runs, but the image cannot be pushed, exported or unpacked again. Next: ctr content"
            f" fetch of {_word(image)} (or remove the image and pull it again)."
        )

    def ghost_container(self, container: str) -> str:
        """A container of a pod sandbox that is gone."""
        return f"Safe to remove if its task has ended (crictl ps --all). Next: crictl rm --force {_word(container)}"

    def _unmounted(self, paths: Collection[str | None]) -> str:
        """Return the test that no snapshot at ``paths`` is mounted (as upper or as one of many lowers)."""
        numbers = [path.rpartition("/")[2] for path in paths if path]
        if not numbers:
            return "nothing has it mounted"
        pattern = shlex.quote(printable(f"[=:/]{numbers[0]}/fs([:, ]|$)"))
        return f"grep -sE {pattern} /proc/*/mountinfo prints nothing"


def _word(name: str | None) -> str:
    return shlex.quote(printable(name or ""))


def _words(names: Collection[str]) -> str:
    shown = ", ".join(_word(name) for name in sorted(names)[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _ctr(snapshot: Snapshot) -> str:
    return f"ctr -n {_word(snapshot.namespace)}" if snapshot.namespace else "ctr"


def _by(snapshot: Snapshot) -> str:
    return "" if snapshot.snapshotter == "overlayfs" else f" --snapshotter {_word(snapshot.snapshotter)}"


def _remove(snapshot: Snapshot) -> str:
    return f"{_ctr(snapshot)} snapshots{_by(snapshot)} rm {_word(snapshot.name)}"


def _end_leases(leases: Sequence[tuple[str, str]]) -> str:
    if not leases:
        return "end the lease that leads to it (ctr leases ls)"
    return "; ".join(f"ctr -n {_word(namespace)} leases delete --sync {_word(name)}" for namespace, name in leases[:_SHOWN])
