"""What goes wrong in deltalake and below it, as the errors of this project."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import deltalake.exceptions

from linktrail.errors import FencedError, LakeError, LakeFullError, LakeUnreachableError
from processor.location import address, is_remote

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FULL_TEXT: Final = re.compile(r"No space left on device|Disk quota exceeded|\(os error (28|122)\)")
_TRIMMED_TEXT: Final = re.compile(r"[Nn]ot found: \S*_delta_log/")
_STORE_TEXT: Final = re.compile(r"Generic \w+ error|Error performing|error sending request|timed out")
_COLOUR: Final = re.compile("\x1b\\[[0-9;]*m")
_BACKTRACE: Final = re.compile(r"\n\s+0: ")


@contextlib.contextmanager
def lake_errors(path: Path, doing: str, source: str = "") -> Iterator[None]:
    """Turn failures into ``LakeFullError``, ``LakeUnreachableError``, ``FencedError`` (for ``source``) or ``LakeError``.

    ``doing`` says what was tried.
    """
    try:
        yield
    except deltalake.exceptions.DeltaError as error:
        text = first_lines(error)
        if _FULL_TEXT.search(text):
            raise LakeFullError(path=path, what=doing) from error
        if isinstance(error, deltalake.exceptions.CommitFailedError) or _TRIMMED_TEXT.search(text):
            # "Concurrent transaction failed": the same source. "Metadata changed": another processor upgraded the table. "Deleted data
            # this operation read": retention let days go. Entries not found: others committed hundreds of times since. All: read again.
            raise FencedError(path=path, source=source or doing) from error
        raise _other(path, f"{doing} failed ({text})", of_store=_STORE_TEXT.search(text) is not None) from error
    except OSError as error:
        if error.errno in FULL or _FULL_TEXT.search(str(error)):
            raise LakeFullError(path=path, what=doing) from error
        what = f"{doing} failed ({error.strerror or first_lines(error)})"
        raise _other(path, what, of_store=not isinstance(error, FileNotFoundError)) from error
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # a panic in the library's Rust code; its class cannot be imported
            raise LakeError(path=path, what=f"{doing} failed ({first_lines(error)})") from error
        raise


def _other(path: Path, what: str, *, of_store: bool) -> LakeError:
    kind = LakeUnreachableError if of_store and is_remote(path) else LakeError
    return kind(path=address(path), what=what)


def first_lines(error: BaseException) -> str:
    """Return the message of a deltalake error on one line, without colours and backtrace."""
    text = _BACKTRACE.split(_COLOUR.sub("", str(error)), maxsplit=1)[0]
    return " ".join(text.replace("↳", " ").split())
