"""Kinds of values: how each is written in a variable, and what of it in TOML becomes that text.

A check returns the text as the programs take it, and raises ``ValueError`` with what is expected.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from linktrail.durations import parse_duration
from linktrail.errors import UsageError
from linktrail.sizes import parse_size

_LARGEST_PORT: Final = 65_535
_YES, _NO = ("yes", "true", "1", "on"), ("no", "false", "0", "off", "")
_SECRET_NAME: Final = re.compile(r"secret|password|token|sas|(?:^|_)key$|account_key|private")


@dataclass(frozen=True, slots=True)
class Kind:
    """``written`` says how it is written; ``types`` are those of TOML that it may have there, ``joint`` stands between those of a list."""

    written: str
    check: Callable[[str], str]
    types: tuple[type, ...] = (str,)
    joint: str = ""


def _text(text: str) -> str:
    if any(ord(letter) < ord(" ") for letter in text):
        raise ValueError("text without control characters")
    return text


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("a path")
    return text


def _duration(text: str) -> str:
    try:
        parse_duration(text, "")
    except UsageError:
        raise ValueError("a duration such as 0, 90s, 10m, 24h or 7d") from None
    return text


def _keep(text: str) -> str:
    return text if text == "forever" else _duration(text)


def _size(text: str) -> str:
    if parse_size(text) <= 0:
        raise ValueError("a size above nothing, such as 512MiB")
    return text


def _count(text: str) -> str:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise ValueError("a whole number, 1 or more")
    return text


def _port(text: str) -> str:
    if not text.isascii() or not text.isdecimal() or int(text) > _LARGEST_PORT:
        raise ValueError(f"a port, 0 to {_LARGEST_PORT}")
    return text


def _flag(text: str) -> str:
    lowered = text.lower()
    if lowered not in _YES + _NO:
        raise ValueError("true or false")
    return "yes" if lowered in _YES else "no"


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > _LARGEST_PORT:
        raise ValueError("ADDRESS:PORT such as 127.0.0.1:9477 or [::1]:9477")
    return text


def _brokers(text: str) -> str:
    for one in text.split(","):
        _address(one.strip())
    return text


KINDS: Final = {
    "text": Kind("text", _text),
    "choice": Kind("one of its words", _text),
    "path": Kind("a path", _path),
    "lake": Kind("a directory or URL", _path),
    "secret": Kind("a path of a file that not everybody can read", _path),
    "paths": Kind(f"a list of paths (in a variable with {os.pathsep} between them)", _path, (str, list), os.pathsep),
    "brokers": Kind("a list of HOST:PORT (in a variable with commas)", _brokers, (str, list), ","),
    "address": Kind("ADDRESS:PORT", _address),
    "duration": Kind("a duration (90s, 10m, 24h, 7d; a bare number is seconds)", _duration, (str, int, float)),
    "keep": Kind("a duration, or forever", _keep),
    "size": Kind("a size (512MiB, 1GiB, 2GB; a bare number is bytes)", _size, (str, int)),
    "count": Kind("a whole number", _count, (int,)),
    "port": Kind("a port", _port, (int,)),
    "flag": Kind("true or false", _flag, (bool,)),
}


def as_text(value: object, kind: Kind) -> str:
    """Return a value of TOML as the text of a variable. Raises ``ValueError`` with what is expected."""
    fits = isinstance(value, kind.types) and not (isinstance(value, bool) and bool not in kind.types)
    if not fits:
        raise ValueError(kind.written)
    if isinstance(value, list):
        if not value or not all(isinstance(one, str) and one for one in value):
            raise ValueError(kind.written)
        for one in value:
            if kind.joint in one:
                raise ValueError(f"{kind.written}, none with '{kind.joint}' in it")
        return kind.joint.join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def is_secret_name(option: str) -> bool:
    """Tell whether a vendor's option holds a secret, which then has to be in a file of its own (``<option>_file``)."""
    lowered = option.lower()
    return not lowered.endswith("_file") and _SECRET_NAME.search(lowered) is not None
