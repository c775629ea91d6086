"""What to do about a finding: first whether it is safe to remove, then the least invasive next step.

The words are for containers/storage (podman, CRI-O, buildah); another store kind overrides what differs. linktrail runs none of these
commands. They rest on what the engines were seen to do: opening a store for writing deletes incomplete layers, prune sees only what
has a record and is an image, a re-pull reuses every layer that still has a record, and deleting a layer whose ``link`` is empty
erases all of ``l/``. Paths are quoted for a shell.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence

from linktrail.text import printable

_MOUNTED = "grep -s {name} /proc/*/mountinfo prints nothing"


class Advice:
    """Advice for one store. Every method returns one or more plain sentences."""

    def __init__(self, root: str) -> None:
        """Give advice for the store at ``root``."""
        self.root = root

    def at(self, path: str) -> str:
        """Return the absolute path of ``path`` below the root, quoted for a shell."""
        return shlex.quote(printable(f"{self.root}/{path}"))

    def unmounted(self, name: str) -> str:
        """Return the test that nothing has ``name`` mounted."""
        return _MOUNTED.format(name=shlex.quote(printable(name)))

    @property
    def trap_effect(self) -> str:
        """What an empty link file leads to."""
        return "deleting the layer erases all of overlay/l"

    def traps(self, layers: Collection[str]) -> str:
        """What comes before any removal that would delete a layer with an empty link file."""
        return f"First repair the link file of layer {joined(layers)} (see link-file-empty): deleting it as it is erases all of overlay/l."

    # --- leaks ------------------------------------------------------------------------------------------------

    def unaccounted_layer(self, name: str, paths: Collection[str], *, trap: bool) -> str:
        """A directory without a record."""
        bomb = " Only by hand: its link file is empty, so an engine that deletes it erases all of overlay/l." if trap else ""
        return (
            f"Safe to remove if {self.unmounted(name)}: no record names it, and no prune will ever see it."
            f"{bomb} Next: while no pull or build runs, rm -rf {' '.join(self.at(path) for path in paths)}"
        )

    def unreferenced_layer(self, layer: str, children: Collection[str]) -> str:
        """A record that nothing needs."""
        first = f" Remove the layers on top of it first: {joined(children)}." if children else ""
        return (
            "Safe to remove: no image and no container needs it, and image prune does not see it."
            f"{first} Next: containers-storage delete-layer {word(layer)}"
        )

    def incomplete_layer(self, path: str, users: Collection[str]) -> str:
        """A layer that was never finished."""
        if users:
            return (
                f"Not safe: {joined(users)} need it, and the next engine command that opens the store deletes it with its content."
                f" Next: copy {self.at(path)} elsewhere before any engine command, then remove and pull again what needs it."
            )
        return (
            "Safe to remove: it was never finished and nothing needs it. Next: any engine command that opens the store (podman images)"
            f" deletes it, and the evidence with it; copy {self.at(path)} first if you want to keep that."
        )

    def interrupted_removal(self, layer: str, path: str) -> str:
        """A layer that was being deleted."""
        return (
            "Safe to remove: it was being deleted. Next: any engine command (podman images) tries again; if that fails with 'operation not"
            f" permitted', look for immutable files (lsattr -R {self.at(path)}), with 'resource busy', for a mount in another namespace"
            f" (grep -s {word(layer)} /proc/*/mountinfo). Until then every engine command may fail."
        )

    def external_container(self, container: str) -> str:
        """A build container that was left."""
        return f"Safe to remove if no build is running. Next: buildah rm {word(container)} (podman ps --all --external lists it)."

    def untagged_image(self, image: str) -> str:
        """An image without a name."""
        return f"Safe to remove: no container uses it, no named image is built on it. Next: podman rmi {word(image)}, or tag it to keep it."

    def leftover_tempdir(self, path: str, name: str) -> str:
        """What a deferred deletion or a download left."""
        return (
            f"Safe to remove if no engine process is working in it and {self.unmounted(name)}. Next: the engine clears it the next time it"
            f" opens the store; if it cannot, unmount what is mounted below {self.at(path)} first."
        )

    def orphan_mount(self, point: str, processes: Sequence[int], *, deleted: bool) -> str:
        """A mount whose layer or owner is gone; ``processes`` are one of each namespace that has it."""
        where = shlex.quote(printable(point))
        commands = [f"nsenter --target {pid} --mount umount {where}" if pid != 1 else f"umount {where}" for pid in processes[:3]]
        lost = "What was written through it is lost when it goes: copy what you need first. " if deleted else ""
        return (
            f"{lost}Safe to unmount if nothing works in it (fuser --mount {where} prints nothing); its space is freed then."
            f" Next: {', or '.join(commands) or f'umount {where}'}"
        )

    def recorded_mount(self, point: str) -> str:
        """A mount that the engine's own list names although its layer is gone."""
        return (
            f"Nothing takes space: it is an entry in a list. Next: if findmnt {shlex.quote(printable(point))} prints nothing, the entry"
            " goes with the run root at the next reboot; until then engines may answer 'layer not known' when they clean up."
        )

    def deleted_open_file(self, held: Sequence[tuple[int, int | None]]) -> str:
        """Deleted files that processes keep open; ``held`` are processes, each with a descriptor, if it is known."""
        which = ", ".join(str(pid) for pid, _ in held[:5]) or "see evidence"
        copied = next((f"{pid}/fd/{descriptor}" for pid, descriptor in held if descriptor is not None), "PID/fd")
        return (
            f"Nothing can be removed: the names are gone, and the space is freed when the last process closes them (process {which})."
            f" Next: have it reopen its files or restart it; to keep the content, copy it from /proc/{copied} before."
        )

    # --- records and chains -----------------------------------------------------------------------------------

    def layer_missing(self, images: Collection[str], containers: Collection[str], *, everything: bool, writable: bool, needed: bool) -> str:
        """A record without its directory."""
        if everything:
            return (
                "Nothing to remove yet: all layer directories are gone at once, as when the filesystem of overlay/ is not mounted."
                f" Next: findmnt --target {self.at('overlay')}, and mount what is missing; no engine command before that."
            )
        if writable:
            return f"Nothing to save: the content is gone. Next: remove the container that used it: podman rm --force {joined(containers)}"
        if needed:
            sharing = joined([*containers, *images]) or "see related"
            return (
                "Not safe to ignore: pulling again will not bring it back while any record of it is left."
                f" Next: remove everything that shares it ({sharing}), then pull again."
            )
        return "Safe to remove: only the record is left and nothing needs it. Next: containers-storage delete-layer."

    def parent_missing(self, images: Collection[str], containers: Collection[str], *, directory: str | None) -> str:
        """A layer whose parent has no record."""
        kept = f" The directory of the parent is still there ({self.at(directory)}): do not delete it." if directory else ""
        needs = f"everything on it ({joined([*containers, *images])})" if images or containers else "the layer"
        return (
            f"Not safe to ignore: engines answer 'layer not known' for whatever needs it.{kept} Next: if the parent lives in an additional"
            f" image store, name that with --additional-store; else remove {needs} and pull again."
        )

    def cycle(self) -> str:
        """A layer that is its own ancestor."""
        return (
            "Remove nothing: engines may loop over these records. Next: stop all engines, compare the entries with the lower files of the"
            " layers, and put back the parents those name."
        )

    def overlap_by_link(self, name: str, place: str) -> str:
        """A short link that leads to another layer of the same chain."""
        return f"The kernel refuses to mount such a chain ('too many levels of symbolic links'). {self.relink(name, place)}"

    def overlap_in_lower(self, path: str, expected: str | None) -> str:
        """A lower file that names one layer twice."""
        return f"The kernel refuses to mount such a chain ('too many levels of symbolic links'). {self.write_lower(path, expected)}"

    def image_layer_missing(self, image: str, *, directory: str | None) -> str:
        """An image whose layer has no record."""
        kept = f" The directory is still there ({self.at(directory)}); keep it until the record is known to be lost." if directory else ""
        return f"Safe to remove is this image record alone, nothing else.{kept} Next: podman rmi --force {word(image)}, then pull it again."

    def container_layer_missing(self, container: str, *, directory: str | None) -> str:
        """A container whose writable layer has no record."""
        if directory:
            return (
                f"Not safe: its files are still in {self.at(directory + '/diff')}, but no record names them. Next: copy what you need, then"
                f" podman rm --force {word(container)}"
            )
        return f"Nothing to save: the writable layer is gone. Next: podman rm --force {word(container)}"

    def container_image_missing(self, container: str, image: str) -> str:
        """A container whose image has no record."""
        return (
            f"Not safe to remove: the container still works on its own chain. Next: if image {word(image)} lives in an additional image"
            f" store, name that with --additional-store; else pull again, recreate the container, and then podman rm {word(container)}"
        )

    # --- short links and lower --------------------------------------------------------------------------------

    def relink(self, name: str, place: str) -> str:
        """A short link that must be made (again)."""
        target = shlex.quote(printable(f"../{place}/diff"))
        return (
            f"Nothing to remove: the layer is intact. Next: ln -sfn {target} {self.at(f'overlay/l/{name}')}"
            " (engines up to containers/storage 1.62 do that themselves at the next mount, later ones do not)."
        )

    def dangling(self, name: str, users: Collection[str], owner: str | None) -> str:
        """A short link that leads nowhere."""
        if owner is not None:
            return f"Not safe to remove: it is the short link of layer {word(owner)}. " + self.relink(name, owner)
        if users:
            return (
                f"Not safe to remove: the lower files of {joined(users)} name it, so the layer it led to is lost. Next: remove what is"
                " built on them and pull again."
            )
        return (
            "Safe to remove: no lower file names it; while it is there, engines fail to repair other short links."
            f" Next: unlink {self.at(f'overlay/l/{name}')}"
        )

    def duplicate(self, strays: Collection[str], named: Collection[str]) -> str:
        """A second short link for one layer."""
        if named:
            return (
                f"Not safe to remove: lower files name more than one of them ({joined(named)}). Next: nothing until those layers are gone."
            )
        if not strays:
            return "Not safe to remove one: the link file does not say which is right. Next: repair the link file first."
        paths = " ".join(self.at(f"overlay/l/{name}") for name in sorted(strays))
        return f"Safe to remove: neither the link file nor any lower file names the stray. Next: unlink {paths}"

    def malformed_short_link(self, name: str, owner: str | None) -> str:
        """An entry of l/ that is no short link."""
        if owner is not None:
            return f"Not safe to just remove: it is the short link of layer {word(owner)}. " + self.relink(name, owner)
        return f"Safe to remove: no link file names it. Next: unlink {self.at(f'overlay/l/{name}')}"

    def write_link(self, place: str, name: str | None, *, trap: bool, links: int) -> str:
        """A link file that must be written again."""
        warning = (
            "Do not delete this layer in any way (rmi, prune, image garbage collection, check --repair): that erases all of overlay/l"
            f"{f' ({links} short links)' if links else ''}. "
            if trap
            else "Nothing to remove: the layer is intact. "
        )
        if name is None:
            return f"{warning}Its short name is not known any more. Next: copy overlay/l, then remove and pull again what uses the layer."
        return f"{warning}Next: printf %s {name} > {self.at(f'overlay/{place}/link')}"

    def write_lower(self, path: str, expected: str | None) -> str:
        """A lower file that must be written again."""
        if expected is None:
            return "Nothing to remove. The right content cannot be computed while other links of the chain are broken: repair those first."
        if not expected:
            return f"Nothing to remove but the file: a base layer has none. Next: with everything above it stopped, rm {self.at(path)}"
        return f"Nothing to remove. Next: with everything above it stopped, printf %s {shlex.quote(expected)} > {self.at(path)}"

    # --- files ------------------------------------------------------------------------------------------------

    def metadata_unreadable(self, path: str) -> str:
        """A metadata file that does not parse, or is gone."""
        return (
            "Remove nothing and run no engine command: engines refuse the store, or start over with an empty list. Next: copy what is left"
            f" of {self.at(path)}, and put back a copy from a backup, or rebuild the entries from linktrail's record (linktrail timeline)."
        )

    def metadata_leftover(self, paths: Collection[str], name: str) -> str:
        """Metadata of something that is gone."""
        return f"Safe to remove if {self.unmounted(name)}: nothing names it. Next: rm -rf {' '.join(self.at(path) for path in paths)}"

    def twice_recorded(self, paths: Collection[str]) -> str:
        """One id in two metadata files."""
        return (
            f"Not safe to remove either. Next: stop all engines and compare the entries in {' and '.join(self.at(path) for path in paths)}"
        )

    def layer_data_missing(self, images: Collection[str]) -> str:
        """Big data of a layer that is gone."""
        what = joined(images) or "the layer"
        return f"Nothing to remove: mounts still work, but push, save and the engine's checks fail. Next: remove {what} and pull again."

    def work_missing(self, place: str, containers: Collection[str]) -> str:
        """A writable layer without its work directory."""
        return (
            f"Nothing to remove: no file is lost, but container {joined(containers)} cannot be mounted. Next: mkdir -m 0700"
            f" {self.at(f'overlay/{place}/work')} (owner as of diff beside it)."
        )

    def image_data(self, image: str) -> str:
        """Big data of an image that is gone or changed."""
        return (
            f"Nothing to remove: containers are not affected, but the image cannot be inspected or pushed. Next: pull {word(image)} again."
        )

    def container_data(self, container: str) -> str:
        """Big data of a container that is gone or changed."""
        return f"Nothing to remove: its files are intact. Next: save what you need, then recreate container {word(container)}."


def word(name: str) -> str:
    """Return a name quoted for a shell, with nothing in it that a terminal would act on."""
    return shlex.quote(printable(name))


def joined(names: Collection[str], limit: int = 5) -> str:
    """Return some names for a sentence, each as a word for a shell."""
    shown = [word(name) for name in sorted(names)[:limit]]
    return ", ".join(shown) + (f" and {len(names) - limit} more" if len(names) > limit else "")
