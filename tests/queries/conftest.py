from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from queries.engine import Engine, open_lake
from tests.queries.story import write_story


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake of the story; nobody may write to it."""
    return write_story(tmp_path_factory.mktemp("story") / "lake")


@pytest.fixture(scope="session")
def engine(story: Path) -> Iterator[Engine]:
    """The story, open."""
    with open_lake(story) as opened:
        yield opened
