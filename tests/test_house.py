"""The house is as its plan says: ARCHITECTURE.md against the disk, the lock file, the README against the command."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer

from console.cli import app

REPO = Path(__file__).parents[1]
ROOMS = ("consent", "validation", "ingestion", "feature_repo", "rights", "reports", "console")


def tracked(*patterns: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for path in listed.stdout.splitlines() if (REPO / path).exists()]


def test_architecture_lists_every_file_of_every_room() -> None:
    """Each file of a room has one line in ARCHITECTURE.md, and each line a file."""
    listed = re.findall(
        r"^\| `([a-z_]+/[a-z0-9_/]+\.py)` \| \S.+ \|$", (REPO / "ARCHITECTURE.md").read_text(), re.M
    )
    on_disk = [p for p in tracked(*(f"{room}/*.py" for room in ROOMS)) if not p.endswith("__init__.py")]
    assert sorted(listed) == sorted(on_disk)
    assert len(listed) == len(set(listed))


def test_architecture_lists_every_folder_at_the_top() -> None:
    """Nothing stands at the top level that the plan does not know."""
    text = (REPO / "ARCHITECTURE.md").read_text()
    folders = {p.split("/")[0] for p in tracked() if "/" in p and not p.startswith(".")}
    assert all(f"`{folder}/" in text or f"## {folder}:" in text for folder in folders), folders


def test_top_level_documents_are_there() -> None:
    """What a visitor looks for first."""
    for name in ("README", "ARCHITECTURE", "DECISIONS", "SECURITY", "CHANGELOG", "CONTRIBUTING"):
        assert (REPO / f"{name}.md").stat().st_size > 500, name


def test_every_module_says_what_it_is_for() -> None:
    """Every file of a room begins with a docstring."""
    for path in tracked(*(f"{room}/*.py" for room in ROOMS)):
        assert ast.get_docstring(ast.parse((REPO / path).read_text())), path


def test_the_lock_file_is_hashed_and_names_no_host() -> None:
    """Every pin has a hash, no registry host is recorded, and every direct dependency is pinned."""
    text = (REPO / "requirements.lock").read_text()
    assert "://" not in text
    assert "--index-url" not in text
    pins = re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[a-z,]+\])?==\S+.*\\$", text, re.M)
    assert len(pins) > 50
    assert text.count("--hash=sha256:") >= len(pins)
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {re.split(r"[\[<>=~ ]", w)[0].lower() for w in wanted}
    assert names <= set(pins)


def fenced(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (REPO / "README.md").read_text(), re.S)


def command_lines() -> list[str]:
    joined = "\n".join(fenced("console") + fenced("sh")).replace("\\\n", " ")
    return [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ assent ")]


@pytest.mark.parametrize("line", command_lines())
def test_commands_in_the_readme_parse(line: str) -> None:
    """Every command shown in the README is one that `assent` understands, options and all."""
    command = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("assent", words)


def test_the_readme_shows_enough_commands_and_its_python_parses() -> None:
    """The officer's first commands and the modeler's first lines are there and well formed."""
    assert len(command_lines()) >= 12
    assert fenced("python")
    for block in fenced("python"):
        ast.parse(block)


def test_transcript_in_the_readme_is_what_the_demo_prints() -> None:
    """The headings and commands of the README's transcript stand in the demo, in its order."""
    demo = (REPO / "console" / "demo.py").read_text()
    transcript = next(block for block in fenced("console") if "WHO CONSENTED" in block)
    headings = re.findall(r"^# ([A-Z][A-Z ,]{4,})", transcript, re.M)
    assert len(headings) >= 5
    positions = [demo.index(heading.split(",")[0].strip()) for heading in headings]
    assert positions == sorted(positions)


def test_nothing_real_is_in_the_repository() -> None:
    """No data file, database or key is tracked."""
    suffixes = {".parquet", ".db", ".key", ".csv", ".asc", ".gz", ".pem"}
    assert not [p for p in tracked() if Path(p).suffix in suffixes]
