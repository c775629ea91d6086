"""``linktrail config show``: every setting, its value, and with ``--origin`` where that came from."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from linktrail.config.resolve import Configuration, Value
from linktrail.config.table import BY_KEY, CONFIG_ENV
from linktrail.text import printable


class Action(StrEnum):
    """What to do."""

    SHOW = "show"


def config(
    action: Annotated[Action, typer.Argument(help="Show every setting and its value.")] = Action.SHOW,
    *,
    file: Annotated[Path | None, typer.Option("--config", metavar="FILE", envvar=CONFIG_ENV, help="The file to read.")] = None,
    origin: Annotated[bool, typer.Option("--origin", help="Also say where each value came from.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Show the settings as programs started now would have them: variables over the file over defaults. Flags go over all of them.

    Secrets are only named by path, and stay unread. Exit code 2: something is wrong in the file or in a variable.

    Example: linktrail config show --origin
    """
    del action
    configuration = Configuration.load(file, os.environ)
    if as_json:
        document = {
            "schema": 1,
            "file": None if configuration.path is None else printable(configuration.path),
            "settings": [_document(value) for value in configuration.values()],
        }
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
        return 0
    for value in configuration.values():
        end = f"  # {printable(value.origin)}" if origin else ""
        sys.stdout.write(f"{value.key} = {_shown(value)}{end}\n")
    return 0


def _shown(value: Value) -> str:
    if value.text is not None:
        return printable(value.text)
    setting = BY_KEY.get(value.key)
    return f"({setting.usual or 'not set'})" if setting else ""


def _document(value: Value) -> dict[str, object]:
    setting = BY_KEY.get(value.key)
    return {
        "key": value.key,
        "value": None if value.text is None else printable(value.text),
        "origin": value.origin.partition(" ")[0],
        "where": printable(value.origin.partition(" ")[2]) or None,
        "variable": value.env,
        "flag": (setting.flag or None) if setting else None,
        "reload": setting.reload if setting else False,
    }
