"""Where a lake is: a directory, or a place in an object store (``s3://``, ``abfss://``, ``gs://``).

Inside linktrail a place is a ``Path`` in any case: ``s3://bucket/lake`` is ``/s3:/bucket/lake``, so that table and file names are joined to
it in one way. Only here, in ``object_store`` and where Delta opens a table is it told apart.

Settings. Those of the vendors (``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID``, ``AZURE_STORAGE_ACCOUNT_NAME``,
``GOOGLE_APPLICATION_CREDENTIALS``, ...) are taken from the environment. ``LINKTRAIL_LAKE_OPTION_<NAME>=value`` sets one for linktrail
alone, and ``LINKTRAIL_LAKE_OPTION_<NAME>_FILE=path`` reads it from a file that not everybody can read: secrets are taken
from nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from linktrail.errors import SecretFileError, UsageError
from linktrail.secret_file import read_secret

SCHEMES: Final = ("s3", "abfss", "gs")
_VENDORS: Final = ("aws_", "azure_", "google_")
_OPTION: Final = "LINKTRAIL_LAKE_OPTION_"
_FROM_FILE: Final = "_file"


def place(text: str | os.PathLike[str]) -> Path:
    """Return the place that ``text`` (a directory or a URL) names. Raises ``UsageError`` for a URL of another kind."""
    written = os.fspath(text)
    scheme, separator, rest = written.partition("://")
    if not separator:
        return Path(written)
    bucket = rest.strip("/")
    if scheme not in SCHEMES or not bucket:
        raise UsageError(what=f"a lake is a directory or a URL such as s3://bucket/lake, abfss://... or gs://..., not '{written}'")
    return Path(f"/{scheme}:/{bucket}")


def is_remote(path: Path) -> bool:
    """Tell whether ``path`` stands for a place in an object store."""
    return len(path.parts) > 2 and path.parts[1].removesuffix(":") in SCHEMES and path.parts[1].endswith(":")  # noqa: PLR2004 - /, s3:, bucket


def address(path: Path) -> str:
    """Return what Delta opens: the URL of a place in an object store, else the path itself."""
    return f"{path.parts[1]}//{'/'.join(path.parts[2:])}" if is_remote(path) else str(path)


def storage_options(path: Path, environment: Mapping[str, str] | None = None) -> dict[str, str] | None:
    """Return the settings for the object store of ``path``, ``None`` for a directory. Raises ``UsageError`` for an unusable secret."""
    if not is_remote(path):
        return None
    environment = os.environ if environment is None else environment
    found = {name.lower(): value for name, value in environment.items() if name.lower().startswith(_VENDORS)}
    for name, value in environment.items():
        if name.startswith(_OPTION):
            option = name.removeprefix(_OPTION).lower()
            if option.endswith(_FROM_FILE):
                found[option.removesuffix(_FROM_FILE)] = _secret(name, value)
            else:
                found[option] = value
    return found


def _secret(name: str, file: str) -> str:
    try:
        return read_secret(Path(file))
    except SecretFileError as error:
        raise UsageError(what=f"{name}: {error.message}") from error
