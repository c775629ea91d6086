"""``linktrail doctor``: is this host or pod fit for what its configuration asks, and what to do where it is not.

It only reads: no file is made, no topic, no object. Each check is ok, a warning (works, with less than could be), an error (does not work),
or not applicable. Checks of the collector's and the processor's side live with them and are loaded late, so this works on any machine.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Annotated, Final

import typer

from linktrail import __version__
from linktrail.config.resolve import Configuration
from linktrail.config.table import CONFIG_ENV
from linktrail.errors import LinktrailError, MissingExtraError
from linktrail.late import load_late
from linktrail.text import printable

_LIBRARIES: Final = {
    "pyarrow": "",
    "watchdog": "",
    "zstandard": "",
    "kafka-python": "kafka",
    "deltalake": "lake",
    "duckdb": "query",
    "prometheus-client": "metrics",
}
_SIDES: Final = ("collector.doctor", "linktrail.doctor_kafka", "processor.doctor")


class Status(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was found, what that means where it is not ok, and what to do."""

    name: str
    status: Status
    found: str
    means: str = ""
    todo: str = ""


def doctor(
    *,
    file: Annotated[Path | None, typer.Option("--config", metavar="FILE", envvar=CONFIG_ENV, help="The settings to check with.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Check this host or pod: settings, stores, permissions, kernel, clock, state, Kafka and lake; say what to fix. Only reads.

    Exit code 0: no check is an error (there may be warnings). 1: a check is an error.

    Example: linktrail doctor --config /etc/linktrail/linktrail.toml
    """
    found = [_printable(check) for check in checks(file)]
    failed = any(check.status is Status.ERROR for check in found)
    if as_json:
        sys.stdout.write(json.dumps({"schema": 1, "ok": not failed, "checks": [asdict(check) for check in found]}, indent=1) + "\n")
    else:
        for check in found:
            sys.stdout.write(f"{check.status.value:>14}  {check.name}: {check.found}\n")
            for line in (check.means, check.todo and f"do: {check.todo}"):
                if line:
                    sys.stdout.write(f"{'':16}{line}\n")
    return 1 if failed else 0


def _printable(check: Check) -> Check:
    return Check(printable(check.name), check.status, printable(check.found), printable(check.means), printable(check.todo))


def checks(file: Path | None) -> Iterator[Check]:
    """Yield every check, with the settings of ``file`` and of the environment."""
    yield from _versions()
    try:
        configuration = Configuration.load(file, os.environ)
    except LinktrailError as error:
        yield Check("configuration", Status.ERROR, error.message, "No program starts; what follows is of the defaults.", error.advice)
        configuration = Configuration(None, {}, {})
    else:
        yield _configured(configuration)
    with configuration.applied(os.environ):
        for side in _SIDES:
            try:
                yield from load_late(side, for_verb="doctor", extra="all").checks(configuration)
            except MissingExtraError as error:
                yield Check(side, Status.NOT_APPLICABLE, error.message, "That side does not run here.", error.advice)


def _configured(configuration: Configuration) -> Check:
    where = f"file {configuration.path}" if configuration.path else "no file"
    unknown = configuration.unknown_variables()
    if unknown:
        words = f"{where}; variables that are no setting: {', '.join(unknown)}"
        return Check("configuration", Status.WARNING, words, "They change nothing.", "Correct the names, unless something else made them.")
    return Check("configuration", Status.OK, where)


def _versions() -> Iterator[Check]:
    python = ".".join(str(part) for part in sys.version_info[:3])
    yield Check("versions", Status.OK, f"linktrail {__version__}, Python {python}, {os.uname().sysname} {os.uname().release}")
    for library, extra in _LIBRARIES.items():
        try:
            yield Check(f"library {library}", Status.OK, metadata.version(library))
        except metadata.PackageNotFoundError:
            if extra:
                todo = f"pip install 'linktrail[{extra}]'"
                yield Check(f"library {library}", Status.NOT_APPLICABLE, "not installed", f"Needed by the extra {extra} only.", todo)
            else:
                yield Check(f"library {library}", Status.ERROR, "not installed", "linktrail cannot work without.", "pip install linktrail")
