"""The Grafana dashboard: ``python -m deploy.grafana.dashboard`` (``make dashboard``) writes linktrail.json beside this file.

A row of panels for each question of an operator: what leaks, what fills, is the record complete, does it get through. Data source and
instances are chosen on top. Panels are laid out two in a row.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("linktrail.json")
_INSTANCES: Final = 'instance=~"$instance"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: ``queries`` are (PromQL, legend); ``unit`` is Grafana's name of it."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    meaning: str


def _by(metric: str, *labels: str, function: str = "sum") -> str:
    return f"{function} by ({', '.join(labels)}) ({metric}{{{_INSTANCES}}})"


def _rate(metric: str, *labels: str) -> str:
    return f"sum by ({', '.join(labels)}) (rate({metric}{{{_INSTANCES}}}[$__rate_interval]))"


_AVAILABLE: Final = _by("linktrail_filesystem_available_bytes", "instance", "store", function="min")
_SIZE: Final = _by("linktrail_filesystem_size_bytes", "instance", "store", function="min")

ROWS: Final[dict[str, tuple[Panel, ...]]] = {
    "What leaks": (
        Panel(
            "Bytes that leaks hold",
            "bytes",
            ((_by("linktrail_unreferenced_bytes", "store", "reason"), "{{store}} {{reason}}"),),
            "By finding code.",
        ),
        Panel(
            "Open findings",
            "short",
            ((_by("linktrail_findings", "store", "reason"), "{{store}} {{reason}}"),),
            "linktrail findings lists them.",
        ),
    ),
    "What fills": (
        Panel(
            "Filesystem used",
            "percentunit",
            ((f"1 - {_AVAILABLE} / {_SIZE}", "{{instance}} {{store}}"),),
            "Of the filesystem below each store.",
        ),
        Panel(
            "Bytes of all layers", "bytes", ((_by("linktrail_store_bytes", "instance", "store"), "{{instance}} {{store}}"),), "As measured."
        ),
    ),
    "Is the record complete": (
        Panel("Ready", "short", ((_by("linktrail_ready", "instance", function="min"), "{{instance}}"),), "0: /readyz says why."),
        Panel("Gaps", "short", ((_by("linktrail_gaps_total", "reason"), "{{reason}}"),), "By cause: docs/coverage.md."),
        Panel(
            "Link changes", "ops", ((_rate("linktrail_events_total", "store", "action"), "{{store}} {{action}}"),), "Recorded each second."
        ),
        Panel(
            "Watches",
            "short",
            (
                (_by("linktrail_watches", "instance"), "{{instance}}"),
                (_by("linktrail_watches_missing", "instance"), "{{instance}} missing"),
            ),
            "Held, and wanted in vain.",
        ),
    ),
    "Does it get through": (
        Panel(
            "Spool",
            "percentunit",
            ((f"{_by('linktrail_spool_bytes', 'instance')} / {_by('linktrail_spool_limit_bytes', 'instance')}", "{{instance}}"),),
            "Of what it may take.",
        ),
        Panel(
            "Failures of sending",
            "ops",
            ((_rate("linktrail_send_failures_total", "instance", "reason"), "{{instance}} {{reason}}"),),
            "To Kafka.",
        ),
        Panel(
            "Processors behind",
            "short",
            ((_by("linktrail_processor_lag_events", "instance"), "{{instance}}"),),
            "Rows that wait in the source.",
        ),
        Panel(
            "Rows committed",
            "ops",
            ((_rate("linktrail_processor_rows_total", "instance"), "{{instance}}"),),
            "To the lake, each second.",
        ),
    ),
}


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.meaning,
        "datasource": source,
        "gridPos": {"h": 8, "w": 12, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": source, "expr": expression, "legendFormat": legend}
            for place, (expression, legend) in enumerate(panel.queries)
        ],
    }


def dashboard() -> dict[str, Any]:
    """Return the dashboard in Grafana's JSON model."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"h": 1, "w": 24, "x": 0, "y": y},
            }
        )
        y += 1
        for place, panel in enumerate(row):
            panels.append(_panel(panel, len(panels) + 1, 12 * (place % 2), y + 8 * (place // 2)))
        y += 8 * ((len(row) + 1) // 2)
    instances = {"query": "label_values(linktrail_build_info, instance)", "refId": "instances"}
    return {
        "uid": "linktrail",
        "title": "linktrail",
        "tags": ["linktrail", "containers", "storage"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "type": "datasource", "query": "prometheus", "label": "Data source"},
                {
                    "name": "instance",
                    "type": "query",
                    "datasource": {"type": "prometheus", "uid": "${source}"},
                    "query": instances,
                    "refresh": 2,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                },
            ]
        },
        "panels": panels,
    }


def text() -> str:
    """Return linktrail.json."""
    return json.dumps(dashboard(), indent=1) + "\n"


def main() -> int:
    """Write it."""
    FILE.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
