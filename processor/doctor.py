"""What a processor and those who ask need of the lake: it is there, can be listed and read, and a directory can be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from linktrail.config.resolve import Configuration
from linktrail.doctor import Check, Status
from linktrail.errors import LakeMissingError, LinktrailError
from linktrail.sizes import human_bytes
from linktrail.state import default_state
from processor.lake import Lake
from processor.location import address, is_remote, place


def checks(configuration: Configuration) -> Iterator[Check]:
    """Yield the checks of the lake. Never raises."""
    named, state = configuration.text("lake"), configuration.text("state")
    try:
        path = place(named) if named else (Path(state) if state else default_state()) / "lake"
    except LinktrailError as error:
        yield Check("lake", Status.ERROR, error.message, "Neither process nor a question can use it.", error.advice)
        return
    path = path.absolute()
    try:
        lake = Lake.open(path)
    except LakeMissingError:
        todo = "linktrail process makes it; where it should be there, correct lake (--lake, LINKTRAIL_LAKE)."
        yield Check("lake", Status.NOT_APPLICABLE, f"none yet at {address(path)}", "Nothing was committed yet.", todo)
    except LinktrailError as error:
        yield Check("lake", Status.ERROR, error.message, "Neither process nor a question can use it.", error.advice)
    else:
        yield Check("lake", Status.OK, f"{address(path)} can be listed and read, {len(lake.tables)} tables")
    yield _writable(path)


def _writable(path: Path) -> Check:
    if is_remote(path):
        means = "Whether this user may put objects, and only where there is none yet, shows when process starts."
        return Check("lake, writing", Status.NOT_APPLICABLE, "not tried: a check only reads", means)
    there = next(one for one in (path, *path.parents) if one.exists())
    told = os.statvfs(there)
    words = f"{there}, {human_bytes(told.f_bavail * told.f_frsize)} free"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        means = "process cannot commit here; asking works."
        return Check("lake, writing", Status.WARNING, f"{there} is not writable for this user", means, "chown it to the processor's user.")
    return Check("lake, writing", Status.OK, words)
