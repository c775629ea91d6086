"""Alerts fire when they should and not otherwise (promtool), and each has a page whose commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import Any

import pytest
import yaml

from linktrail.command import _BY_NAME, load
from tests.deploy.places import DEPLOY, ROOT
from tests.needs import need

RULES = DEPLOY / "prometheus" / "rules.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
ALERTS: list[dict[str, Any]] = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule]


def commands() -> list[tuple[str, str]]:
    """Return each command of each page."""
    found = []
    for page in sorted(RUNBOOKS.glob("*.md")):
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            found += [(page.stem, re.sub(r"\s+#.*", "", line)) for line in block.splitlines() if line.startswith("linktrail ")]
    return found


@pytest.mark.parametrize("words", [["check", "rules", str(RULES)], ["test", "rules", str(RULES.with_name("rules.test.yaml"))]])
def test_promtool(words: list[str]) -> None:
    """The rules are well formed; their tests pass."""
    need("promtool")
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_has_its_page() -> None:
    """A name in rules.test.yaml, a page of the same name, and no page without an alert."""
    tests = RULES.with_name("rules.test.yaml").read_text()
    names = {rule["alert"] for rule in ALERTS}
    assert all(name in tests for name in names)
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == names
    for rule in ALERTS:
        assert (ROOT / rule["annotations"]["runbook_url"]).is_file()
        assert rule["annotations"]["runbook_url"].endswith(f"/{rule['alert']}.md")
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_every_page_shows_what_to_run() -> None:
    """Two commands at least."""
    for rule in ALERTS:
        assert sum(page == rule["alert"] for page, _ in commands()) >= 2


@pytest.mark.parametrize("command", sorted({command for _, command in commands()}))
def test_a_command_of_a_page_is_one_that_linktrail_takes(command: str) -> None:
    """The verb is there and its options and words parse."""
    verb, *words = shlex.split(command)[1:]
    load(_BY_NAME[verb]).make_context(verb, list(words))


def test_links_of_the_pages_lead_somewhere() -> None:
    """Relative ones, to files."""
    for page in RUNBOOKS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert (page.parent / target).is_file(), f"{page.name}: {target}"
