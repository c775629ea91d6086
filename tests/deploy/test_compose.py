"""compose.yaml is what Compose takes, builds the targets that there are, and runs the collector with one capability."""

from __future__ import annotations

import re
import subprocess
import sys

import yaml

from tests.deploy.places import DEPLOY

COMPOSE = DEPLOY / "compose.yaml"


def test_it_is_valid() -> None:
    """By the schema of the Compose specification, which check-jsonschema carries."""
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_builds_targets_that_there_are() -> None:
    """Each service of ours names a target of the Dockerfile; only the collector has a capability."""
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE))
    services = {name: one for name, one in yaml.safe_load(COMPOSE.read_text())["services"].items() if "build" in one}
    assert services.keys() >= {"topics", "collector", "processor", "ask"}
    for name, service in services.items():
        assert service["build"]["target"] == ("collector" if name == "collector" else "processor")
        assert service["build"]["target"] in targets
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service.get("cap_add", []) == (["DAC_READ_SEARCH"] if name == "collector" else [])
