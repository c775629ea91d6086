"""The file operations of a lake on an object store, through Arrow's own filesystems.

An object appears whole or not at all and is durable once the store has confirmed it, so there is nothing to sync. Names of data files are
random and never reused; log entries are written by deltalake with conditional puts, so that of two writers of one version one is refused.
A put whose answer was lost may have happened: what it wrote is then either found in the log or garbage for vacuum, never removed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.fs as pafs

from linktrail.durable import FileSystem
from processor.location import is_remote, storage_options

_TIMEOUT: Final = 30.0
_ARROW_S3: Final = {
    "aws_access_key_id": "access_key",
    "aws_secret_access_key": "secret_key",
    "aws_session_token": "session_token",
    "aws_region": "region",
}
_ARROW_AZURE: Final = {
    "azure_storage_account_name": "account_name",
    "azure_storage_account_key": "account_key",
    "azure_storage_sas_token": "sas_token",
}


class ObjectStore:
    """A ``FileSystem`` over the object store that ``path`` is in."""

    def __init__(self, path: Path) -> None:
        """Nothing is asked of the store before the first operation."""
        self._store = arrow_filesystem(path, storage_options(path) or {})

    def write_new(self, path: Path, data: bytes) -> None:
        """Put ``data`` at ``path``."""
        with self._store.open_output_stream(_key(path)) as stream:
            stream.write(data)

    def replace(self, source: Path, target: Path) -> None:
        """Copy, then delete: not one act, and nothing of a lake relies on it."""
        self._store.move(_key(source), _key(target))

    def sync_file(self, path: Path) -> None:
        """Nothing to do."""

    def sync_directory(self, path: Path) -> None:
        """Nothing to do."""

    def make_directory(self, path: Path) -> None:
        """Nothing to do: a store has only names."""

    def unlink(self, path: Path) -> None:
        """Delete the object; not an error when it is gone already."""
        try:
            self._store.delete_file(_key(path))
        except FileNotFoundError:
            return

    def read(self, path: Path) -> bytes:
        """Return the whole object."""
        with self.source(path) as stream:
            data: bytes = stream.read()
        return data

    def source(self, path: Path) -> pa.NativeFile:
        """Return the object, open for reads at any place of it."""
        return self._store.open_input_file(_key(path))

    def names(self, path: Path) -> list[str]:
        """Return the names just below ``path``, sorted; none where there is nothing."""
        selector = pafs.FileSelector(_key(path), allow_not_found=True)
        return sorted(found.base_name for found in self._store.get_file_info(selector))

    def free_bytes(self, path: Path) -> int:
        """A store has no end: return the largest number."""
        del path
        return (1 << 63) - 1


def filesystem_of(path: Path, local: FileSystem) -> FileSystem:
    """Return the file operations for the lake at ``path``: ``local`` unless it is in an object store."""
    return ObjectStore(path) if is_remote(path) else local


def parquet_source(filesystem: FileSystem, path: Path) -> Any:  # noqa: ANN401 - what pyarrow.parquet opens
    """Return what ``pyarrow.parquet`` opens to read the file at ``path``."""
    return filesystem.source(path) if isinstance(filesystem, ObjectStore) else path


def arrow_filesystem(path: Path, options: Mapping[str, str]) -> pafs.FileSystem:
    """Return Arrow's filesystem for ``path``; what ``options`` leaves out it takes from where the vendor's own tools take it."""
    make: Mapping[str, Callable[[Mapping[str, str]], pafs.FileSystem]] = {"s3:": _s3, "abfss:": _azure, "gs:": _google}
    return make[path.parts[1]](options)


def _s3(options: Mapping[str, str]) -> pafs.FileSystem:
    chosen: dict[str, Any] = {arrow: options[name] for name, arrow in _ARROW_S3.items() if name in options}
    endpoint = options.get("aws_endpoint_url_s3") or options.get("aws_endpoint_url") or options.get("aws_endpoint")
    if endpoint:
        scheme, separator, host = endpoint.partition("://")
        chosen.update(scheme=scheme if separator else "https", endpoint_override=host if separator else endpoint)
    # A small file is one put; without delayed opening every file would be a multipart upload of three requests.
    return pafs.S3FileSystem(allow_delayed_open=True, request_timeout=_TIMEOUT, connect_timeout=_TIMEOUT, **chosen)


def _azure(options: Mapping[str, str]) -> pafs.FileSystem:
    return pafs.AzureFileSystem(**{arrow: options[name] for name, arrow in _ARROW_AZURE.items() if name in options})


def _google(options: Mapping[str, str]) -> pafs.FileSystem:
    del options  # the credentials of the environment (GOOGLE_APPLICATION_CREDENTIALS), as everywhere on Google's cloud
    return pafs.GcsFileSystem()


def _key(path: Path) -> str:
    """Return bucket (container) and key of ``path``: ``/abfss:/container@account.host/a`` is ``container/a``."""
    bucket, *rest = path.parts[2:]
    return "/".join((bucket.partition("@")[0], *rest))
