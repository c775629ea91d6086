"""The file: TOML, one table a section, read as texts of variables; what is wrong in it is told with file, line and a way out.

An unknown key is an error with the nearest known one. Secrets never stand in it: settings of secrets are paths, and an option of an object
store that is a secret is refused but as ``<option>_file``.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from linktrail.config.kinds import KINDS, as_text, is_secret_name
from linktrail.config.table import BY_KEY, LAKE_OPTION_ENV, LAKE_OPTIONS, SECTIONS, Setting
from linktrail.errors import ConfigFileError

USUAL_FILE: Final = Path("/etc/linktrail/linktrail.toml")
_MOST_BYTES: Final = 1 << 20
_SECTION: Final = re.compile(r"\s*\[\s*([A-Za-z0-9_.\-]+)\s*\]")
_OPTION: Final = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Stated:
    """A value as it stands in a file: the text of its variable, and where (``PATH:LINE``)."""

    text: str
    where: str


def read_file(path: Path) -> Mapping[str, Stated]:
    """Return what the file at ``path`` states, by name of variable. Raises ``ConfigFileError``."""
    text = _text(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigFileError(where=path, what=f"it is not TOML: {error}") from error
    reading = _Reading(path, text)
    for name, value in document.items():
        if name == LAKE_OPTIONS:
            reading.lake_options(value)
        elif isinstance(value, dict):
            reading.section(name, value)
        else:
            reading.one(name, value)
    return reading.found


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ConfigFileError(where=path, what=f"it is larger than {_MOST_BYTES} bytes")
        return data.decode()
    except OSError as error:
        raise ConfigFileError(where=path, what=f"it cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise ConfigFileError(where=path, what="it is not UTF-8") from error


class _Reading:
    """One file on its way to texts."""

    def __init__(self, path: Path, text: str) -> None:
        self.found: dict[str, Stated] = {}
        self._path = path
        self._lines = text.splitlines()

    def section(self, section: str, values: Mapping[str, Any]) -> None:
        """Take a table. Raises ``ConfigFileError``."""
        if section not in SECTIONS:
            raise self._unknown(section, "", [*(one for one in SECTIONS if one), LAKE_OPTIONS])
        for name, value in values.items():
            self.one(f"{section}.{name}", value)

    def one(self, key: str, value: object) -> None:
        """Take a setting. Raises ``ConfigFileError``."""
        setting = BY_KEY.get(key)
        if setting is None:
            section, _, name = key.rpartition(".")
            raise self._unknown(name, section, list(BY_KEY))
        try:
            text = checked(setting, as_text(value, KINDS[setting.kind]))
        except ValueError as error:
            raise self._wrong(key, f"{key} takes {error}, not {value!r}") from None
        self.found[setting.env] = Stated(text, self._where(key))

    def lake_options(self, values: object) -> None:
        """Take the settings of an object store, by the names that its vendor gives them. Raises ``ConfigFileError``."""
        if not isinstance(values, dict):
            raise self._wrong(LAKE_OPTIONS, f"{LAKE_OPTIONS} is a table")
        for name, value in values.items():
            key = f"{LAKE_OPTIONS}.{name}"
            if not _OPTION.fullmatch(name) or not isinstance(value, str | int):
                raise self._wrong(key, f"{key} takes a name of letters, digits and _, and text or a number")
            if is_secret_name(name):
                raise self._wrong(key, f"secrets come from files of their own: write {name}_file with a path, not {name}")
            text = str(value).lower() if isinstance(value, bool) else str(value)
            self.found[LAKE_OPTION_ENV + name.upper()] = Stated(text, self._where(key))

    def _unknown(self, name: str, section: str, known: list[str]) -> ConfigFileError:
        key = f"{section}.{name}" if section else name
        # A key may also be known elsewhere: 'roots' at the top is meant as 'collect.roots'.
        elsewhere = [one for one in known if one.rpartition(".")[2] == name]
        near = elsewhere or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        suggestion = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}" if not section else ""
        return self._wrong(key, f"unknown key {key}{suggestion}")

    def _wrong(self, key: str, what: str) -> ConfigFileError:
        return ConfigFileError(where=self._where(key), what=what)

    def _where(self, key: str) -> str:
        line = self._line(key)
        return f"{self._path}:{line}" if line else str(self._path)

    def _line(self, key: str) -> int | None:
        """Return the line of a key. TOML has more ways to write one than are looked for here: then none is told."""
        section, _, name = key.rpartition(".")
        inside = ""
        for number, line in enumerate(self._lines, 1):
            if found := _SECTION.match(line):
                inside = found[1]
                if inside == key:
                    return number
            elif (inside == section and re.match(rf"""\s*["']?{re.escape(name)}["']?\s*[=.]""", line)) or (
                not inside and re.match(rf"\s*{re.escape(key)}\s*[=.]", line)
            ):
                return number
        return None


def checked(setting: Setting, text: str) -> str:
    """Return ``text`` as the programs take it. Raises ``ValueError`` with what is expected."""
    if setting.choices:
        if text not in setting.choices:
            raise ValueError(f"one of {', '.join(setting.choices)}")
        return text
    return KINDS[setting.kind].check(text)
