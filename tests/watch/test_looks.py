"""How often an idle queue is looked at: what the collector writes itself is no reason to look more often."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collector.watch.fanotify import Fanotify
from collector.watch.probe import FANOTIFY, probe
from collector.watch.watermark import LOOK_SECONDS, REST_AFTER, REST_LOOK_SECONDS, Looks
from tests.needs import need
from tests.watch.tools import mounted, run


def test_a_queue_at_rest_is_looked_at_less_often_until_something_comes() -> None:
    """The bracket of an isolated event is as wide as a look is long."""
    looks = Looks()
    for _ in range(REST_AFTER):
        assert looks.seconds == LOOK_SECONDS
        looks.looked(found=False)
    assert looks.seconds == REST_LOOK_SECONDS
    looks.looked(found=True)
    assert looks.seconds == LOOK_SECONDS


def test_what_this_process_does_itself_stirs_nothing(tmp_path: Path) -> None:
    """Its own state may lie on the filesystem that it watches; what anybody else does counts, also among its own doings."""
    need("root")
    refused = next(mode.refused for mode in probe([tmp_path]) if mode.name == FANOTIFY)
    if refused:
        pytest.skip(refused)
    group = Fanotify()
    with mounted(tmp_path) as place:
        directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            group.mark_filesystem(directory)
            (place / "own").symlink_to("somewhere")
            (place / "own").rename(place / "moved")
            own = group.read(group.pending())
            assert group.units(own) >= 2
            assert not group.stirs(own)
            run("ln", "-s", "somewhere", str(place / "other"))
            other = group.read(group.pending())
            assert group.stirs(other)
            assert group.stirs(own + other)
        finally:
            os.close(directory)
            group.close()
