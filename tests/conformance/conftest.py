"""The suite's assertions are explained like those of any test, and its tests run once for each row of a table."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.conformance.suite")

from tests.conformance.suite import rows  # noqa: E402 - after its assertions are registered


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize the tests of the suite."""
    rows(metafunc)
