"""SIGHUP: read the file again, take up what can change, and say in the log what changed and what waits for a restart.

A file that is wrong changes nothing: the settings in force stay, and the log says what is wrong. Flags stay above the file, and
the environment is that of the start.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from types import FrameType

import typer

from linktrail.config.resolve import Configuration
from linktrail.config.table import BY_KEY, SETTINGS
from linktrail.errors import LinktrailError
from linktrail.logs import set_level

_log = logging.getLogger(__name__)


class Reload:
    """The settings of a running program. ``flags`` are the keys that its command line states, which nothing else changes."""

    def __init__(self, configuration: Configuration, *, verb: str, flags: AbstractSet[str] = frozenset()) -> None:
        """``apply``, once set, takes up the values of keys that can change; what it raises (``LinktrailError``) keeps the old ones."""
        self.apply: Callable[[Configuration], None] | None = None
        self.flags = flags
        self._configuration = configuration
        self._verb = verb
        self._asked = threading.Event()

    @classmethod
    def of(cls, context: typer.Context, verb: str) -> Reload:
        """Return what a command line has: its configuration, and the keys that its flags state."""
        stated = {name for name in context.params if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"}
        options = {word.removeprefix("--") for name in stated for word in (name.replace("_", "-"),)}
        flags = {setting.key for setting in SETTINGS if verb in setting.verbs and setting.flag.removeprefix("--") in options}
        return cls(context.obj, verb=verb, flags=flags)

    def ask(self) -> None:
        """Let the next ``tend`` read the file again. For signal handlers."""
        self._asked.set()

    def tend(self) -> None:
        """Read the file again if that was asked for."""
        if not self._asked.is_set():
            return
        self._asked.clear()
        before = self._configuration
        try:
            now = Configuration.load(before.path, before.environment)
            changed = self._changed(before, now)
            if self.apply is not None and any(BY_KEY[key].reload for key in changed):
                self.apply(now)
        except LinktrailError as error:
            _log.error("configuration not taken up, the one in force stays: %s %s", error.message, error.advice)
            return
        self._configuration = now
        if "log.level" in changed:
            set_level(now.text("log.level") or BY_KEY["log.level"].default)
        for key in changed:
            what = "is in force" if BY_KEY[key].reload else "needs a restart"
            _log.info("configuration: %s is now %s (was %s); it %s", key, _shown(now, key), _shown(before, key), what)
        if not changed:
            _log.info("configuration read again: nothing changed")

    def _changed(self, before: Configuration, now: Configuration) -> list[str]:
        mine = [key for key, setting in BY_KEY.items() if self._verb in setting.verbs and key not in self.flags]
        changed = [key for key in mine if before.text(key) != now.text(key)]
        options = [{value.key: value.text for value in one.values() if value.key not in BY_KEY} for one in (before, now)]
        if options[0] != options[1]:
            _log.info("configuration: [lake_options] changed; that needs a restart")
        return changed

    @contextlib.contextmanager
    def on_hangup(self) -> Iterator[None]:
        """Ask on SIGHUP meanwhile; in a thread other than the main one nothing happens, as signals go to that one."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def asked(_number: int, _frame: FrameType | None) -> None:
            self._asked.set()

        before = signal.signal(signal.SIGHUP, asked)
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)


def _shown(configuration: Configuration, key: str) -> str:
    text = configuration.text(key)
    return text if text is not None else BY_KEY[key].usual or "not set"
