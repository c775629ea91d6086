"""Links between the pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "deploy" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link is a file or directory that is there."""
    for target in re.findall(r"\]\((?!\w+://)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_and_parts_of_deploy_that_are_named_are_there(page: Path) -> None:
    """``tests/...`` and ``deploy/...`` in backticks or shell blocks."""
    for name in re.findall(r"(?<![\w./-])((?:tests|deploy)/[\w./*-]*\w)", page.read_text(encoding="utf-8")):
        assert list(ROOT.glob(name)), name
