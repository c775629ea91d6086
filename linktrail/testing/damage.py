"""Damage to a containers-storage store, as crashes, full disks, people and other tools leave it.

Each method changes the disk once and returns what it changed (a layer id or a path relative to the store root). None of
it writes a lock file or uses a rename, because no engine had a hand in it. ``layer`` is a layer id.
"""

from __future__ import annotations

from pathlib import Path

from linktrail.testing.store_files import CONTAINERS, IMAGES, LAYERS, StoreFiles, big_data_file, remove_tree


class Damage:
    """Breaks the store of ``files``."""

    def __init__(self, files: StoreFiles) -> None:
        """Work on the store of ``files``."""
        self._files = files
        self._overlay = files.root / "overlay"

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._files.root))

    def _short(self, layer: str) -> Path:
        return self._overlay / "l" / (self._overlay / layer / "link").read_text(encoding="ascii")

    # --- links ------------------------------------------------------------------------------------------------

    def lose_short_link(self, layer: str) -> str:
        """Remove the entry of ``l/`` that the layer's link file names (a crash before ``l/`` was synced)."""
        short = self._short(layer)
        short.unlink()
        return self._relative(short)

    def lose_all_short_links(self) -> str:
        """Remove ``l/`` with all that is in it (a layer with an empty link file was deleted)."""
        remove_tree(self._overlay / "l")
        return "overlay/l"

    def dangle_short_link(self, name: str = "DANGLINGDANGLINGDANGLING22", layer: str = "0" * 64) -> str:
        """Add a short link to a layer that does not exist (a creation that failed after its first step)."""
        (self._overlay / "l" / name).symlink_to(f"../{layer}/diff")
        return f"overlay/l/{name}"

    def duplicate_short_link(self, layer: str, name: str = "DUPLICATEDUPLICATEDUPLICAT") -> str:
        """Add a second short link to a layer."""
        (self._overlay / "l" / name).symlink_to(f"../{layer}/diff")
        return f"overlay/l/{name}"

    def retarget_short_link(self, layer: str, other: str) -> str:
        """Let the short link of ``layer`` point at layer ``other``."""
        short = self._short(layer)
        short.unlink()
        short.symlink_to(f"../{other}/diff")
        return self._relative(short)

    def empty_link(self, layer: str) -> str:
        """Leave the link file with no byte (power lost before it was synced)."""
        (self._overlay / layer / "link").write_bytes(b"")
        return f"overlay/{layer}/link"

    def lose_link(self, layer: str) -> str:
        """Remove the link file."""
        (self._overlay / layer / "link").unlink()
        return f"overlay/{layer}/link"

    def empty_lower(self, layer: str) -> str:
        """Leave the lower file with no byte."""
        (self._overlay / layer / "lower").write_bytes(b"")
        return f"overlay/{layer}/lower"

    def lose_lower(self, layer: str) -> str:
        """Remove the lower file."""
        (self._overlay / layer / "lower").unlink()
        return f"overlay/{layer}/lower"

    # --- directories ------------------------------------------------------------------------------------------

    def orphan_directory(self, layer: str = "0123456789abcdef" * 4, size: int = 4096) -> str:
        """Add a layer directory that no record names, with ``size`` bytes in it (a killed build)."""
        content = self._overlay / layer / "diff"
        content.mkdir(mode=0o755, parents=True)
        content.parent.chmod(0o700)
        (content / "left-over").write_bytes(b"\x5a" * size)
        return layer

    def lose_layer_directory(self, layer: str) -> str:
        """Remove a layer's directory and leave everything that names it (a disk that was lost)."""
        remove_tree(self._overlay / layer)
        return f"overlay/{layer}"

    def leave_tempdir(self, layer: str, number: int = 1) -> str:
        """Move a layer directory to where newer engines put it for a deferred removal, and leave it there."""
        place = self._overlay / "tempdirs" / f"temp-dir-{number}"
        place.mkdir(mode=0o700, parents=True)
        (place.parent / f"lock-{number}").touch(mode=0o600)
        (self._overlay / layer).rename(place / f"1-{layer}")
        return self._relative(place)

    # --- records ----------------------------------------------------------------------------------------------

    def truncate_metadata(self, file: str = LAYERS, keep: float = 0.5) -> str:
        """Cut a metadata file to a share of its length (a full disk)."""
        path = self._files.root / file
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])
        return file

    def drop_layer_record(self, layer: str) -> str:
        """Take a layer out of layers.json and leave its directory."""
        self._files.drop(LAYERS, layer)
        return layer

    def drop_image_record(self, image: str) -> str:
        """Take an image out of images.json and leave its directory and layers."""
        self._files.drop(IMAGES, image)
        return image

    def drop_container_record(self, container: str) -> str:
        """Take a container out of containers.json and leave its layer and directory."""
        self._files.drop(CONTAINERS, container)
        return container

    def lose_tar_split(self, layer: str) -> str:
        """Remove the tar-split file of a layer."""
        file = f"overlay-layers/{layer}.tar-split.gz"
        (self._files.root / file).unlink()
        return file

    def truncate_image_data(self, image: str, item: str = "manifest") -> str:
        """Cut a big-data item of an image to half its length."""
        path = self._image_data(image, item)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        return self._relative(path)

    def modify_image_data(self, image: str, item: str = "manifest") -> str:
        """Change one bit of a big-data item of an image, and not its size."""
        path = self._image_data(image, item)
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        return self._relative(path)

    def _image_data(self, image: str, item: str) -> Path:
        return self._files.root / "overlay-images" / image / big_data_file(item)
