"""Apache Kafka for the tests, of the version that pom.xml pins."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.maven import jars

_POM: Final = Path(__file__).with_name("pom.xml")


def classpath() -> str:
    """Return the class path of the broker, resolving it first where needed. Raises ``UnavailableError``."""
    return f"{_POM.parent}:{jars(_POM, 'Apache Kafka')}"
