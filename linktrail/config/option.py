"""``--config FILE`` on every verb that heeds settings: before its other options are read, the file stands in the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from linktrail.config.resolve import Configuration
from linktrail.config.table import CONFIG_ENV


def _apply(context: typer.Context, path: Path | None) -> Path | None:
    if not context.resilient_parsing:
        configuration = Configuration.load(path, os.environ)
        context.with_resource(configuration.applied(os.environ))
        context.obj = configuration
    return path


_Option = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        envvar=CONFIG_ENV,
        is_eager=True,
        callback=_apply,
        help="Settings (TOML), below flags and variables; default: /etc/linktrail/linktrail.toml where that is.",
    ),
]


def _holder(config: _Option = None) -> None:
    del config


def add_config_option(command: Any) -> None:  # noqa: ANN401 - typer's command type is private
    """Give ``command`` the option. Its function does not get it; ``typer.Context.obj`` is the ``Configuration``."""
    single = typer.Typer(add_completion=False)
    single.command()(_holder)
    option: Any = next(parameter for parameter in get_command(single).params if parameter.name == "config")
    option.expose_value = False
    command.params.append(option)
