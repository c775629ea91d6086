"""The sources put together, and where each value came from: variables over the file over defaults (flags are the command line's).

A variable that is set to nothing counts as not set, as manifests often leave it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from linktrail.config.file import USUAL_FILE, Stated, checked, read_file
from linktrail.config.kinds import is_secret_name
from linktrail.config.table import BY_ENV, BY_KEY, CONFIG_ENV, LAKE_OPTION_ENV, OTHER_ENV, SETTINGS
from linktrail.errors import ConfigValueError

_OURS = "LINKTRAIL_"


@dataclass(frozen=True, slots=True)
class Value:
    """A setting's text (``None``: none, the program chooses) and its origin: ``default``, ``environment``, or the file with its line."""

    key: str
    env: str
    text: str | None
    origin: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the environment and the file say; ``path`` is that of the file, ``None`` where there is none."""

    path: Path | None
    file: Mapping[str, Stated]
    environment: Mapping[str, str]

    @classmethod
    def load(cls, path: Path | None, environment: Mapping[str, str]) -> Configuration:
        """Read the file (``path``, else ``LINKTRAIL_CONFIG``, else the usual one if it is there) and check everything.

        Raises ``ConfigFileError`` and ``ConfigValueError``.
        """
        named = environment.get(CONFIG_ENV)
        chosen = path or (Path(named) if named else None)
        if chosen is None and named is None and os.path.lexists(USUAL_FILE):
            chosen = USUAL_FILE
        file = {} if chosen is None else read_file(chosen)
        given = {name: text for name, text in environment.items() if name.startswith(_OURS) and (text or name == CONFIG_ENV)}
        for name, text in given.items():
            _check(name, text)
        return cls(chosen, file, given)

    def value(self, key: str) -> Value:
        """Return the value of a setting and its origin. Raises ``KeyError`` for one that there is not."""
        setting = BY_KEY[key]
        if setting.env in self.environment:
            return Value(key, setting.env, checked(setting, self.environment[setting.env]), f"environment {setting.env}")
        if setting.env in self.file:
            return Value(key, setting.env, self.file[setting.env].text, f"file {self.file[setting.env].where}")
        return Value(key, setting.env, setting.default or None, "default")

    def text(self, key: str) -> str | None:
        """Return the text of a setting."""
        return self.value(key).text

    def values(self) -> list[Value]:
        """Return every setting, and the options of object stores that are stated."""
        options = sorted(name for name in {*self.file, *self.environment} if name.startswith(LAKE_OPTION_ENV))
        return [self.value(setting.key) for setting in SETTINGS] + [self._option(name) for name in options]

    def _option(self, env: str) -> Value:
        key = f"lake_options.{env.removeprefix(LAKE_OPTION_ENV).lower()}"
        if env in self.environment:
            return Value(key, env, self.environment[env], f"environment {env}")
        return Value(key, env, self.file[env].text, f"file {self.file[env].where}")

    def unknown_variables(self) -> list[str]:
        """Return variables that look like ours and are no setting. No error: Kubernetes makes some (``LINKTRAIL_PORT``), tests others."""
        return sorted(
            name for name in self.environment if name not in BY_ENV and name not in OTHER_ENV and not name.startswith(LAKE_OPTION_ENV)
        )

    @contextlib.contextmanager
    def applied(self, environment: MutableMapping[str, str]) -> Iterator[None]:
        """Let the file's values stand in ``environment`` under the names of their variables meanwhile, where those are not set."""
        added = {name: stated.text for name, stated in self.file.items() if not environment.get(name)}
        before = {name: environment.get(name) for name in added}
        environment.update(added)
        try:
            yield
        finally:
            for name, old in before.items():
                if old is None:
                    environment.pop(name, None)
                else:
                    environment[name] = old


def _check(name: str, text: str) -> None:
    """Refuse a variable of wrong type. Raises ``ConfigValueError``."""
    if name.startswith(LAKE_OPTION_ENV):
        if is_secret_name(name.removeprefix(LAKE_OPTION_ENV)):
            raise ConfigValueError(name=name, what=f"secrets come from files: set {name}_FILE to a path instead")
        return
    setting = BY_ENV.get(name)
    if setting is None:
        return
    try:
        checked(setting, text)
    except ValueError as error:
        raise ConfigValueError(name=name, what=f"it takes {error}, not '{text}'") from None
