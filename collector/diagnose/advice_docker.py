"""What to do about a finding in a data root of Docker. linktrail runs none of these commands.

They rest on what dockerd was seen to do: no prune removes what has no record, restarts repair nothing, a layer that is in
``layerdb`` is reused by every pull and load and removed with the last image that names it, and dockerd keeps what it knows of layers
in memory: whoever changes ``layerdb`` by hand must stop it before. Paths are quoted for a shell.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection

from collector.diagnose.advice import Advice, joined, word
from linktrail.text import printable

_LAYERS = "image/overlay2/layerdb/sha256"
_STOPPED = "with dockerd stopped (systemctl stop docker.socket docker)"
_AGAIN = "remove what uses it (docker rm, docker rmi) until docker images -a shows none of its layers, then pull or build it again"


class DockerAdvice(Advice):
    """Advice for one data root."""

    @property
    def trap_effect(self) -> str:
        """What an empty link file leads to."""
        return (
            "every layer made on it from now on gets a bare 'l' in its lower file and mounts overlay2/l itself"
            " (and Docker before 18.03 erases all of overlay2/l when it deletes the layer)"
        )

    def traps(self, layers: Collection[str]) -> str:
        """What comes before any removal that would delete a layer with an empty link file."""
        return (
            f"First repair the link file of layer {joined(layers)} (see link-file-empty): Docker before 18.03 erases all of overlay2/l"
            " when it deletes that layer as it is, later ones leave its short link behind."
        )

    # --- leaks ------------------------------------------------------------------------------------------------

    def unaccounted_layer(self, name: str, paths: Collection[str], *, trap: bool) -> str:
        """A directory without a record."""
        del trap
        return (
            f"Safe to remove if no pull, load or build runs and {self.unmounted(name)}: no record of Docker names it, no prune and no"
            f" restart will ever clear it. Next: rm -rf {' '.join(self.at(path) for path in paths)}"
        )

    def unreferenced_layer(self, layer: str, children: Collection[str]) -> str:
        """A record that nothing needs."""
        first = f" Remove the layers on top of it first: {joined(children)}." if children else ""
        if not layer.startswith("sha256:"):
            return (
                "Safe to remove if no build runs: BuildKit has no lease and no cache record for it, so docker builder prune does not see"
                f" it.{first} Next: {_STOPPED}, rm -rf {self.at(f'overlay2/{layer}')}"
            )
        return (
            f"Safe to remove: no image and no container needs it, and no prune sees it.{first} Next: pull or load an image that has this"
            " layer and remove that image again (docker rmi): Docker then deletes it too."
        )

    def incomplete_layer(self, path: str, users: Collection[str]) -> str:
        """A layer that was never finished."""
        needs = f" ({joined(users)} need it)" if users else ""
        return (
            f"Safe to remove if no pull, load or build runs: it never became a layer{needs}, and dockerd does not look at it again, not"
            f" even when it starts. Next: rm -rf {self.at(path)} and the write set that names it."
        )

    def interrupted_removal(self, layer: str, path: str) -> str:
        """A layer that was being deleted."""
        return (
            "Safe to remove: Docker has forgotten it. Next: stop and start dockerd once (systemctl restart docker), which was seen to clear"
            f" it; if it stays, {_STOPPED}, rm -rf {self.at(path)} {self.at(f'{_LAYERS}/{layer}')}"
        )

    def interrupted_container(self, container: str, paths: Collection[str]) -> str:
        """A container whose removal failed."""
        files = " ".join(self.at(path) for path in paths)
        immutable = f" With 'operation not permitted' look for immutable files (lsattr -R {files})," if files else " With an error look for"
        return (
            f"Safe to remove: it was being removed. Next: docker rm --force {word(container)}.{immutable} with 'resource busy' for a mount"
            f" in another namespace ({self.unmounted(container)} when there is none)."
        )

    def ghost_reference(self, record: str, paths: Collection[str], *, build: bool) -> str:
        """A writable layer whose container is gone."""
        running = "no build runs" if build else "docker ps -a does not list it"
        return (
            f"Safe to remove if {running} and {self.unmounted(record.rpartition('/')[2])}; no docker command can. Next: {_STOPPED},"
            f" rm -rf {' '.join(self.at(path) for path in (record, *paths) if path == record or path.startswith('overlay2/'))}"
            " (the writable and init layer; layers of an image go with docker rmi after the next pull of it)."
        )

    def untagged_image(self, image: str) -> str:
        """An image without a name."""
        return (
            f"Safe to remove: no container uses it, no named image is built on it. Next: docker rmi {word(image)} (docker image prune"
            " removes all of them), or docker tag to keep it."
        )

    def leftover_tempdir(self, path: str, name: str) -> str:
        """What a load, a pull or a build left."""
        if path.startswith("tmp/"):
            return (
                "Safe to remove if no pull, load, save or build runs. Next: nothing, dockerd empties tmp/ when it starts; or now:"
                f" rm -rf {self.at(path)}"
            )
        return (
            f"Safe to remove if no pull, load or build runs and {self.unmounted(name)}: dockerd never clears it, not even when it starts."
            f" Next: rm -rf {self.at(path)}"
        )

    # --- records and chains -----------------------------------------------------------------------------------

    def layer_missing(self, images: Collection[str], containers: Collection[str], *, everything: bool, writable: bool, needed: bool) -> str:
        """A record without its directory."""
        if everything:
            return (
                "Nothing to remove yet: all layer directories are gone at once, as when the filesystem of overlay2/ is not mounted."
                f" Next: findmnt --target {self.at('overlay2')}, and mount what is missing before dockerd starts again."
            )
        if writable:
            return f"Nothing to save: the content is gone. Next: docker rm --force {joined(containers)}"
        if needed:
            sharing = joined([*containers, *images]) or "see related"
            return (
                "Not safe to ignore: docker images and system df show it as healthy, and pulling again will not bring it back while any"
                f" image that shares the layer is left. Next: remove everything that shares it ({sharing}), then pull again."
            )
        return "Safe to remove: only the record is left and nothing needs it. Next: pull an image that has this layer, then docker rmi it."

    def parent_missing(self, images: Collection[str], containers: Collection[str], *, directory: str | None) -> str:
        """A layer whose parent has no record."""
        kept = f" The directory of the parent is still there ({self.at(directory)}): do not delete it." if directory else ""
        needs = f"everything on it ({joined([*containers, *images])})" if images or containers else "the layer"
        return (
            f"Not safe to ignore: when dockerd starts the next time, it drops the layer and all images on it.{kept} Next: save the"
            f" containers that matter (docker commit, docker export), remove {needs}, and pull again."
        )

    def cycle(self) -> str:
        """A layer that is its own ancestor."""
        return (
            "Remove nothing: a chain id is the digest of what is below it, so such records cannot be Docker's. Next: stop dockerd, compare"
            " the parent files in layerdb with the lower files of the layers, and put back the parents those name."
        )

    def image_layer_missing(self, image: str, *, directory: str | None) -> str:
        """An image whose layer has no record."""
        kept = f" The directory is still there ({self.at(directory)}); keep it until the record is known to be lost." if directory else ""
        return f"Safe to remove is this image alone, nothing else.{kept} Next: docker rmi --force {word(image)}, then pull it again."

    def container_layer_missing(self, container: str, *, directory: str | None) -> str:
        """A container whose writable layer has no record."""
        if directory:
            return (
                f"Not safe: its files are still in {self.at(directory + '/diff')}, but no record names them. Next: copy what you need, then"
                f" docker rm --force {word(container)}"
            )
        return (
            "Its files may still be in an overlay2 directory without a record (see unaccounted-layer). Next: copy what you need from there,"
            f" then docker rm --force {word(container)}"
        )

    def container_image_missing(self, container: str, image: str) -> str:
        """A container whose image has no record."""
        return (
            f"Not safe to remove: the container still works on its own chain. Next: docker commit {word(container)} to keep what it is, or"
            f" pull the image ({word(image)}) again, recreate the container, and then docker rm {word(container)}"
        )

    # --- short links and lower --------------------------------------------------------------------------------

    def relink(self, name: str, place: str) -> str:
        """A short link that must be made (again)."""
        target = shlex.quote(printable(f"../{place}/diff"))
        return (
            "Nothing to remove: the layer is intact, but Docker never makes the link again."
            f" Next: ln -sfn {target} {self.at(f'overlay2/l/{name}')}"
        )

    def dangling(self, name: str, users: Collection[str], owner: str | None) -> str:
        """A short link that leads nowhere."""
        if owner is not None or users:
            return super().dangling(name, users, owner)
        return (
            "Safe to remove: no lower file names it; it is left of a layer that could not be made, or was deleted with an empty link file."
            f" Next: unlink {self.at(f'overlay2/l/{name}')}"
        )

    def duplicate(self, strays: Collection[str], named: Collection[str]) -> str:
        """A second short link for one layer."""
        if named or not strays:
            return super().duplicate(strays, named)
        paths = " ".join(self.at(f"overlay2/l/{name}") for name in sorted(strays))
        return f"Safe to remove: neither the link file nor any lower file names the stray. Next: unlink {paths}"

    def malformed_short_link(self, name: str, owner: str | None) -> str:
        """An entry of l/ that is no short link."""
        if owner is not None:
            return super().malformed_short_link(name, owner)
        return f"Safe to remove: no link file names it. Next: unlink {self.at(f'overlay2/l/{name}')}"

    def write_link(self, place: str, name: str | None, *, trap: bool, links: int) -> str:
        """A link file that must be written again."""
        warning = (
            "Nothing to remove. Make no container and pull nothing on this layer before: each new layer on it would mount overlay2/l"
            f" ({links} short links) instead of it. "
            if trap
            else "Nothing to remove: the layer is intact. "
        )
        if name is None:
            return f"{warning}Its short name is not known any more. Next: {_AGAIN}."
        return (
            f"{warning}Next: printf %s {name} > {self.at(f'overlay2/{place}/link')}; then repair the lower files that were written"
            " meanwhile (see lower-malformed)."
        )

    # --- files ------------------------------------------------------------------------------------------------

    def metadata_unreadable(self, path: str) -> str:
        """A metadata file that does not parse, or is gone."""
        if path.startswith("image/overlay2/layerdb/"):
            return (
                "Remove nothing: when dockerd starts the next time, it drops this layer and every image and container on it without a"
                f" finding of its own. Next: do not restart dockerd; put back {self.at(path)} from a backup or from linktrail's record"
                " (linktrail timeline), or save what matters (docker save, docker commit) first."
            )
        return (
            "Remove nothing, and do not restart dockerd: it starts without what it cannot read. Next: copy what is left of"
            f" {self.at(path)}, and put back a copy from a backup, or what linktrail recorded of it (linktrail timeline)."
        )

    def metadata_leftover(self, paths: Collection[str], name: str) -> str:
        """Metadata of something that is gone."""
        return (
            f"Safe to remove if {self.unmounted(name)}: Docker does not know it. Next: {_STOPPED}, rm -rf"
            f" {' '.join(self.at(path) for path in paths)}"
        )

    def empty_record(self, path: str) -> str:
        """An entry of layerdb without a file in it."""
        return (
            "Safe to remove: no layer belongs to it, but every pull of an image with this layer fails ('failed to register layer: rename"
            f" ...: file exists'). Next: rmdir {self.at(path)}"
        )

    def layer_data_missing(self, images: Collection[str]) -> str:
        """The tar-split of a layer is gone."""
        what = joined(images) or "the layer"
        return f"Nothing to remove: containers still work, but docker save and push fail. Next: remove {what} and pull again."

    def work_missing(self, place: str, containers: Collection[str]) -> str:
        """A writable layer without its work directory."""
        return (
            f"Nothing to remove: no file is lost, but container {joined(containers)} cannot be started. Next: mkdir -m 0711"
            f" {self.at(f'overlay2/{place}/work')} (owner as of diff beside it)."
        )

    def image_data(self, image: str) -> str:
        """The configuration of an image that is gone or changed."""
        return (
            "Nothing to remove: running containers are not affected, but when dockerd starts the next time, the image is gone and its"
            f" layers stay. Next: pull or load {word(image)} again."
        )
