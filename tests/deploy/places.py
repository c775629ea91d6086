"""Where the parts of ``deploy/`` are, and how to read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
DEPLOY: Final = ROOT / "deploy"
CHART: Final = DEPLOY / "helm" / "linktrail"
OVERLAYS: Final = DEPLOY / "kustomize" / "overlays"


def documents(text: str) -> list[dict[str, Any]]:
    """Return the documents of a YAML stream, without empty ones."""
    return [document for document in yaml.safe_load_all(text) if document]
