"""Where stores are: the usual roots, and the further image stores that a storage.conf names.

Only configuration files that the caller names are read; nothing is guessed. Format: TOML, containers-storage.conf(5).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from linktrail.errors import MalformedError, TooLargeError

SYSTEM_ROOT: Final = Path("/var/lib/containers/storage")
_ROOTLESS: Final = Path("containers/storage")
_CONFIGURATION_BYTES: Final = 1 << 20


def usual_roots(
    environment: Mapping[str, str] = os.environ, *, homes: Path = Path("/home"), root_user: bool | None = None
) -> tuple[Path, ...]:
    """Return where podman, CRI-O and buildah keep their store: the system's, this user's, and for root those below ``homes``."""
    found = [SYSTEM_ROOT]
    home = environment.get("HOME", "")
    if data := environment.get("XDG_DATA_HOME", ""):
        found.append(Path(data) / _ROOTLESS)
    if home:
        found.append(Path(home) / ".local" / "share" / _ROOTLESS)
    if os.geteuid() == 0 if root_user is None else root_user:
        try:
            users = sorted(os.listdir(homes))  # noqa: PTH208 - names, not paths
        except OSError:  # no such directory, or no permission: nothing usual there
            users = []
        found += [homes / user / ".local" / "share" / _ROOTLESS for user in users]
    return tuple(dict.fromkeys(found))


def additional_stores(root: Path, configurations: Iterable[Path]) -> tuple[Path, ...]:
    """Return the further image stores of the store at ``root``, as the existing ones of ``configurations`` name them, in order.

    These are ``additionalimagestores`` and ``imagestore`` of ``[storage.options]``. A file whose ``graphroot`` is another
    store says nothing about this one. Raises ``MalformedError`` or ``TooLargeError`` for a file that cannot be understood, ``OSError``
    for one that cannot be read.
    """
    found: list[Path] = []
    for path in configurations:
        try:
            data = _read(root, path)
        except FileNotFoundError:
            continue
        try:
            document = tomllib.loads(data.decode())
        except (ValueError, RecursionError) as error:
            raise MalformedError(root=root, path=path, what=error) from error
        storage = _table(document, "storage")
        graph_root = storage.get("graphroot")
        if isinstance(graph_root, str) and graph_root and not _same(Path(graph_root), root):
            continue
        found += _named(_table(storage, "options"), root, path)
    return tuple(dict.fromkeys(found))


def _read(root: Path, path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_CONFIGURATION_BYTES + 1)
    if len(data) > _CONFIGURATION_BYTES:
        raise TooLargeError(root=root, path=path, limit=_CONFIGURATION_BYTES)
    return data


def _named(options: Mapping[str, Any], root: Path, path: Path) -> list[Path]:
    image_store = options.get("imagestore", "")
    stores = [*_list(options.get("additionalimagestores", [])), *([image_store] if image_store else [])]
    for store in stores:
        if not isinstance(store, str) or not store.startswith("/"):
            raise MalformedError(root=root, path=path, what=f"image store {store!r} is no absolute path")
    return [Path(store) for store in stores]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name, {})
    return value if isinstance(value, dict) else {}


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
