"""The processor's verb: ``linktrail process`` (spool to lake)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linktrail.state import open_state
from processor.upkeep.beside import DEFAULT_KEEP, Keep, Maintain, MaintainEvery, keep_once, keeping


def process(
    *,
    state: Annotated[Path | None, typer.Option("--state", metavar="DIR", help="Where linktrail keeps its own files.")] = None,
    lake: Annotated[Path | None, typer.Option("--lake", metavar="DIR", help="The lake (default: lake/ in the state directory).")] = None,
    drain: Annotated[bool, typer.Option("--drain", help="Commit what is in the spool now, and end.")] = False,
    maintain: Maintain = False,
    maintain_every: MaintainEvery = None,
    keep: Keep = DEFAULT_KEEP,
) -> int:
    """Commit the batches of the spool to the lake, each row exactly once, until stopped (SIGINT or SIGTERM).

    Examples: linktrail process --maintain-every 10m --keep 90d
              linktrail process --maintain --lake /srv/lake
    """
    from processor import program  # noqa: PLC0415 - --help must not wait for it

    opened = open_state(state, [])
    if maintain:
        return keep_once(lake or opened.lake, keep)
    with keeping(lake or opened.lake, maintain_every, keep):
        if drain:
            program.drain(opened, lake or opened.lake)
            return 0
        return program.process(opened, lake or opened.lake)
