"""Upkeep as the command line has it: once (``--maintain``), or as a thread beside a processor (``--maintain-every``)."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from linktrail.clock import SystemClock
from linktrail.durable import LocalFileSystem
from linktrail.durations import parse_duration
from linktrail.errors import UsageError

Maintain = Annotated[bool, typer.Option("--maintain", help="Compact the lake, let old days go, remove unreferenced files, and end.")]
MaintainEvery = Annotated[
    str | None,
    typer.Option("--maintain-every", metavar="DURATION", envvar="LINKTRAIL_MAINTAIN_EVERY", help="Do that regularly beside processing."),
]
Keep = Annotated[
    str,
    typer.Option(
        "--keep",
        metavar="DURATION",
        envvar="LINKTRAIL_KEEP",
        help="Days of history that upkeep keeps whole; of older ones only what still holds. forever keeps all.",
    ),
]
DEFAULT_KEEP: Final = "400d"
_DAY: Final = 86_400
_SHORTEST: Final = 1.0
_STOP_SECONDS: Final = 300.0


def keep_once(lake: Path, keep: str) -> int:
    """Maintain the lake once and say what was done; return the exit code. Raises ``LakeError``."""
    from processor.upkeep.keeper import UpkeepPolicy, maintain  # noqa: PLC0415 - --help must not wait for it

    policy = UpkeepPolicy(keep_days=keep_days(keep))
    done = maintain(lake.absolute(), filesystem=LocalFileSystem(), clock=SystemClock(), policy=policy)
    sys.stderr.write(f"{done}.\n")
    return 0


@contextlib.contextmanager
def keeping(lake: Path, every: str | None, keep: str) -> Iterator[None]:
    """Maintain the lake ``every`` so often (``None``: never) in a thread while inside; what it is at is finished at the end."""
    days = keep_days(keep)
    if every is None:
        yield
        return
    seconds = parse_duration(every, "--maintain-every")
    if seconds < _SHORTEST:
        raise UsageError(what="--maintain-every takes a duration of a second or more")
    from processor.upkeep.keeper import UpkeepPolicy, run  # noqa: PLC0415 - --help must not wait for it

    stop = threading.Event()
    options = {"every": seconds, "filesystem": LocalFileSystem(), "clock": SystemClock(), "policy": UpkeepPolicy(keep_days=days)}
    # A daemon: should it hang on a dead disk, the program can end all the same, and being killed anywhere does no harm.
    thread = threading.Thread(target=run, args=(lake.absolute(), stop), kwargs=options, name="upkeep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_STOP_SECONDS)


def keep_days(text: str) -> int | None:
    """Return ``--keep`` in whole days, ``None`` for ``forever``. Raises ``UsageError``."""
    from processor.upkeep.retain import LEAST_DAYS  # noqa: PLC0415 - --help must not wait for it

    if text == "forever":
        return None
    days = int(parse_duration(text, "--keep") // _DAY)
    if days < LEAST_DAYS:
        raise UsageError(what=f"--keep must be {LEAST_DAYS}d or more, or forever, not '{text}'")
    return days
