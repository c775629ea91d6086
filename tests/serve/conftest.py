from __future__ import annotations

from pathlib import Path

import pytest

from tests.queries.story import write_story


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake of the story; nobody may write to it."""
    return write_story(tmp_path_factory.mktemp("story") / "lake")
