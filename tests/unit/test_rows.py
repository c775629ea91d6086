from __future__ import annotations

from collector.rows import finding_row
from linktrail.events import Interval, Origin, Stamp
from linktrail.testing.clock import FakeClock


def test_a_closed_finding_was_closed_when_it_was_closed() -> None:
    """Closing takes over how the finding last stood, but not the times of that row."""
    clock = FakeClock()
    opened_at = clock.now()
    opened = finding_row(
        "opened", {"code": "layer-missing"}, None, Stamp(Interval(None, opened_at.wall), opened_at, clock.boot_id, Origin.SURVEY)
    )
    clock.advance(60)
    closed_at = clock.now()
    stamp = Stamp(Interval(opened_at.wall, closed_at.wall), closed_at, clock.boot_id, Origin.SURVEY)
    closed = finding_row("closed", opened, None, stamp)
    assert (closed["action"], closed["code"]) == ("closed", "layer-missing")
    assert (closed["occurred_after"], closed["occurred_before"]) == (opened_at.wall, closed_at.wall)
    assert (closed["observed_at"], closed["monotonic_ns"]) == (closed_at.wall, closed_at.monotonic)
