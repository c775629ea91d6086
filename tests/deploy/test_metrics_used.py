"""Alerts and the dashboard ask for metrics and labels that linktrail serves, and the dashboard is what its code says."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana import dashboard
from linktrail.telemetry.table import BY_NAME
from tests.deploy.places import DEPLOY
from tests.needs import need

RULES = DEPLOY / "prometheus" / "rules.yaml"
_SERVED_BY_PROMETHEUS = {"instance", "job", "why"}  # "why" is made in a rule


def panels() -> list[dict[str, Any]]:
    """Return the graphs of the committed dashboard."""
    return [panel for panel in json.loads(dashboard.FILE.read_text())["panels"] if panel["type"] != "row"]


EXPRESSIONS = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]] + [
    target["expr"] for panel in panels() for target in panel["targets"]
]


def test_the_dashboard_is_what_its_code_says() -> None:
    """Else: make dashboard."""
    assert dashboard.FILE.read_text() == dashboard.text(), "make dashboard"


def test_panels_stand_side_by_side() -> None:
    """Every panel has an id of its own, a unit, a meaning, and a place that no other has."""
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()}
    assert len(places) == len({panel["id"] for panel in panels()}) == len(panels()) >= 10
    assert all(panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in panels())


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_is_served(expression: str) -> None:
    """With the labels by which it is asked for."""
    used = set(re.findall(r"\blinktrail_\w+", expression))
    assert used | set(re.findall(r"\bup\b", expression))
    assert used <= BY_NAME.keys()
    labels = {label for metric in used for label in BY_NAME[metric].labels} | _SERVED_BY_PROMETHEUS
    grouped = {label.strip() for names in re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", expression) for label in names.split(",")}
    matched = set(re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression))
    assert grouped | matched <= labels


def test_promql_of_the_dashboard_parses(tmp_path: Path) -> None:
    """By promtool, as rules."""
    need("promtool")
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")} for number, expression in enumerate(EXPRESSIONS)
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
