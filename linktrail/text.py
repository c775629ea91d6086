"""Names from disks are hostile bytes: how they become text, and how text becomes safe to print.

Inside the program a name is a ``str`` made by ``os.fsdecode`` (surrogateescape), so nothing is lost. It crosses
a border in one of two forms: ``column_text`` + ``column_raw`` (the text column, and the bytes when they are not
UTF-8), or ``printable`` (a terminal, a log line, a message: no control character, no bidirectional override,
no lone surrogate).
"""

from __future__ import annotations

import os
import unicodedata

_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
MAX_PRINTABLE = 4096


def decode(raw: bytes) -> str:
    """Return ``raw`` as the text used inside the program; ``encode`` gives the same bytes back."""
    return os.fsdecode(raw)


def encode(name: str) -> bytes:
    """Return the bytes that ``name`` stands for on disk."""
    return os.fsencode(name)


def column_text(name: str) -> str:
    r"""Return ``name`` as valid Unicode for a text column; bytes that are not UTF-8 become ``\xNN``."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return encode(name).decode("utf-8", "backslashreplace")
    return name


def column_raw(name: str) -> bytes | None:
    """Return the bytes of ``name`` when they are not UTF-8 (the text column is lossy then), else ``None``."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return encode(name)
    return None


def printable(value: object, limit: int = MAX_PRINTABLE) -> str:
    r"""Return ``value`` as one line that is safe on a terminal: control and format characters become ``\xNN`` or ``\uNNNN``."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = decode(bytes(value))
    text = column_text(str(value))
    if len(text) > limit:
        text = f"{text[:limit]}... ({len(text)} characters)"
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(character) for character in text)


def _escape(character: str) -> str:
    if unicodedata.category(character) not in _UNSAFE_CATEGORIES:
        return character
    point = ord(character)
    if point <= 0xFF:  # noqa: PLR2004 - the range that \x can name
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"  # noqa: PLR2004 - likewise \u
