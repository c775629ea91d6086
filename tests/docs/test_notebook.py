"""docs/history.ipynb runs from top to bottom on the lake that the demo leaves, and says what the demo did."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from linktrail.state import State
from queries import demo

NOTEBOOK = Path(__file__).resolve().parent.parent.parent / "docs" / "history.ipynb"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell, in a kernel of its own; the answers name the leak, that it is too young to delete, and the completeness of the record."""
    assert demo.play(io.StringIO(), directory=tmp_path / "demo") == 0
    monkeypatch.setenv("LINKTRAIL_LAKE", str(State(tmp_path / "demo" / "state").lake))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    read: Any = nbformat.read  # it has no types
    notebook = read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "committed without outputs"
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "\n".join(output["data"]["text/plain"] for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output)
    for part in (
        "'unreferenced-layer'",
        "'short-link-missing'",
        "('wait', 'in progress')",
        "('added', 'layer_record')",
        "The record is complete",
    ):
        assert part in said, said
