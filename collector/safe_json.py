"""Parsing JSON that anybody may have written, or that a crash cut short.

``parse`` gives what Python's parser gives, minus what is no JSON or has no place in a record, and never raises or recurses:

* nesting is bounded before the parser sees the text (``DEPTH``);
* ``NaN`` and infinities, integers outside 64 bits and floats out of range become ``None``; bytes that are no UTF-8 and
  lone surrogates become U+FFFD, as Go's decoder does; each is named in ``faults``;
* a list that does not parse as a whole (cut short, garbage in one entry) is taken apart at its top level, so that one bad
  entry hides no good one. Only up to ``SALVAGE_TOKENS``, because taking apart is slow.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

DEPTH: Final = 64
SALVAGE_TOKENS: Final = 500_000
MAX_FAULTS: Final = 20
_WIDE: Final = 20  # characters of the longest 64-bit integer, with its sign

_STRING: Final = r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'  # the end of the text ends a string too: no second look at it
_STRINGS: Final = re.compile(_STRING, re.DOTALL)
_TOKENS: Final = re.compile(_STRING + r"|[\[\]{},]", re.DOTALL)
_SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_BRACKETS: Final = re.compile(r"[^\[\]{}]+")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a text says: ``value`` (``None`` when nothing could be read), and in ``faults`` what is wrong with it, in words."""

    value: Any
    faults: tuple[str, ...] = ()


@dataclass(slots=True)
class _Faults:
    found: list[str] = field(default_factory=list)

    def add(self, what: str) -> None:
        if len(self.found) < MAX_FAULTS and what not in self.found:
            self.found.append(what)

    def decoder(self) -> json.JSONDecoder:
        return json.JSONDecoder(parse_int=self.integer, parse_float=self.fraction, parse_constant=self.constant)

    def integer(self, text: str) -> int | None:
        if len(text) <= _WIDE:
            number = int(text)
            if -(1 << 63) <= number < 1 << 63:
                return number
        self.add("an integer that does not fit 64 bits")
        return None

    def fraction(self, text: str) -> float | None:
        number = float(text)
        if math.isfinite(number):
            return number
        self.add("a number out of range")
        return None

    def constant(self, text: str) -> None:
        self.add(f"{text} is no JSON")


def parse(data: bytes) -> Parsed:
    """Parse ``data``. Never raises."""
    faults = _Faults()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        faults.add(f"not UTF-8 at byte {error.start}")
        text = data.decode(errors="replace")
    value = _whole(text, faults) if _shallow(text) else _in_parts(text, faults, f"nested deeper than {DEPTH} levels, or cut short")
    if _SURROGATE_ESCAPE.search(data):
        value = _without_surrogates(value, faults)
    return Parsed(value, tuple(faults.found))


def _whole(text: str, faults: _Faults) -> Any:  # noqa: ANN401 - JSON has any shape
    try:
        return faults.decoder().decode(text)
    except json.JSONDecodeError as error:
        return _in_parts(text, faults, f"{error.msg[:1].lower()}{error.msg[1:]} (character {error.pos})")
    except (ValueError, RecursionError) as error:
        return _in_parts(text, faults, str(error))


def _in_parts(text: str, faults: _Faults, why: str) -> list[Any] | None:
    """Parse the entries of a top-level list one by one; what does not parse is left out."""
    faults.add(why)
    if not text.lstrip().startswith("["):
        return None
    values: list[Any] = []
    decode = faults.decoder().decode
    for number, part in enumerate(_top_level(text)):
        if not _shallow(part):
            faults.add(f"entry {number} is nested deeper than {DEPTH} levels, or cut short")
            continue
        try:
            values.append(decode(part))
        except (ValueError, RecursionError):
            faults.add(f"entry {number} cannot be parsed")
    return values


def _top_level(text: str) -> Iterator[str]:
    """Yield the text of each entry of a list; the last one may be cut short. Gives up after ``SALVAGE_TOKENS``."""
    depth, start = 0, text.index("[") + 1
    for token in islice(_TOKENS.finditer(text), SALVAGE_TOKENS):
        mark = token.group()
        if mark in {"[", "{"}:
            depth += 1
        elif mark in {"]", "}"}:
            depth -= 1
        if (mark == "," and depth == 1) or (mark == "]" and depth == 0):
            yield text[start : token.start()]
            start = token.end()
        if depth == 0 and mark == "]":
            return
    rest = text[start:]
    if rest.strip():
        yield rest


def _shallow(text: str) -> bool:
    """Tell whether ``text`` nests no deeper than ``DEPTH``, in linear time and without recursion; doubt counts as no.

    Each pass removes the innermost brackets, so the number of passes plus what is left over bounds the depth.
    """
    left = _BRACKETS.sub("", _STRINGS.sub("", text))
    passes = 0
    while left and passes <= DEPTH:
        fewer = left.replace("[]", "").replace("{}", "")
        passes += 1
        if len(fewer) == len(left):
            break
        left = fewer
    return passes + len(left) <= DEPTH


def _without_surrogates(value: Any, faults: _Faults) -> Any:  # noqa: ANN401 - likewise
    """Replace lone surrogates in all strings; the depth is bounded by ``DEPTH`` already."""
    if isinstance(value, str):
        if not _SURROGATES.search(value):
            return value
        faults.add("a lone surrogate")
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item, faults) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key, faults): _without_surrogates(item, faults) for key, item in value.items()}
    return value
