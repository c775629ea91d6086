"""Secrets come from files, never from flags or the environment, and never from a file that everybody may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from linktrail.errors import SecretFileError

_MOST_SECRET_BYTES: Final = 1 << 16


def read_secret(path: Path) -> str:
    """Return the text of a secret file without the line end. Raises ``SecretFileError``, also when everybody may read it."""
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o007:
                raise SecretFileError(path=path, what="everybody on this machine can read it")
            data = file.read(_MOST_SECRET_BYTES + 1)
        text = data.decode().rstrip("\r\n")
    except OSError as error:
        raise SecretFileError(path=path, what=error.strerror or error) from error
    except UnicodeDecodeError as error:
        raise SecretFileError(path=path, what="it is not text") from error
    if not text or len(data) > _MOST_SECRET_BYTES:
        raise SecretFileError(path=path, what="it is empty" if not text else "it is too large for a secret")
    return text
