"""A machine without what a test needs: skipped with the reason, and a failure where CI promises everything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests import needs
from tests.kafka.distribution import classpath


@pytest.mark.parametrize("ask", [lambda: needs.need_jars(classpath), lambda: needs.need("podman")], ids=["Kafka", "podman"])
def test_what_is_missing_skips_and_in_ci_fails(monkeypatch: pytest.MonkeyPatch, ask: Callable[[], None]) -> None:
    """No program is found: the reason says what to install."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install"):
        ask()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install"):
        ask()
