from __future__ import annotations

import pytest

from tests.deploy import tools
from tests.needs import in_ci


@pytest.fixture(scope="session")
def helm() -> str:
    """The path of helm; skips elsewhere with the reason, fails under CI=true (tests.setup_machine has built it there)."""
    try:
        return tools.helm()
    except tools.UnavailableError as error:
        (pytest.fail if in_ci() else pytest.skip)(str(error))
