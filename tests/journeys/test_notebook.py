"""docs/modeler.ipynb does what it shows."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "modeler.ipynb"


def text_of(cell: nbformat.NotebookNode) -> str:
    """What a cell printed and showed, as text."""
    outputs = cell.get("outputs", [])
    return "".join(o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in outputs)


def test_the_notebook_runs_and_says_what_it_says() -> None:
    """Every cell in order; a withdrawal takes one person's values, and the reproduced training set says so."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    shown = [cell.get("outputs", []) for cell in notebook.cells]
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    told = {cell.id: text_of(cell) for cell in notebook.cells}
    everything = "\n".join(told.values())
    assert "everybody else: unchanged" in everything
    assert "[nan] now" in everything
    assert "{'spending_v1': 1, 'employment_v1': 0, 'app_usage_v1': 0}" in everything
    # What is committed was made by this notebook: the same cells have outputs of the same kinds.
    kinds = [[o["output_type"] for o in outputs] for outputs in shown]
    assert kinds == [[o["output_type"] for o in cell.get("outputs", [])] for cell in notebook.cells]
    pictures = [o for outputs in shown for o in outputs if "<svg" in o.get("data", {}).get("text/html", "")]
    assert len(pictures) == 1
    assert "/tmp/" not in NOTEBOOK.read_text("utf-8")
