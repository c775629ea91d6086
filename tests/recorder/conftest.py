"""What tests of the recorder start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recorder.support import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A store with three layers, read once."""
    rig = Rig(tmp_path)
    rig.start()
    rig.recorder.step(0)
    return rig
