"""`assent token`: shown once, listed without the secret, revoked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consent.home import Home
from console.cli import run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Home.create(tmp_path_factory.mktemp("tokens") / "home").root


def call(made: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run(["token", *arguments, "--home", str(made)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_tokens_life(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Create, list, revoke, list; the secret is shown by `create` alone."""
    code, out, _ = call(made, capsys, "create", "loan-app", "--role", "recorder", "--json")
    told = json.loads(out)
    assert (code, told["name"], told["role"]) == (0, "loan-app", "recorder")
    assert Home.open(made).tokens.find(told["secret"]) is not None
    code, out, _ = call(made, capsys, "list")
    assert code == 0
    assert "good" in out
    assert told["secret"] not in out
    assert call(made, capsys, "revoke", "loan-app")[0] == 0
    assert call(made, capsys, "revoke", "loan-app", "--json")[0] == 0
    assert Home.open(made).tokens.find(told["secret"]) is None
    listed = json.loads(call(made, capsys, "list", "--json")[1])["tokens"]
    assert [(t["name"], t["state"]) for t in listed] == [("loan-app", "revoked")]


def test_plain_text_has_the_secret_on_a_line_of_its_own(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that a script can take it."""
    code, out, _ = call(made, capsys, "create", "officer-1", "--role", "officer", "--days", "1")
    assert code == 0
    assert Home.open(made).tokens.find(out.splitlines()[0]) is not None


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("create", "x"), 2),
        (("create", "x", "--role", "king"), 2),
        (("create", "x", "--role", "auditor", "--days", "0"), 2),
        (("create", "x", "--role", "auditor", "--days", "367"), 2),
        (("create", "X Y", "--role", "auditor"), 6),
        (("create", "officer-1", "--role", "officer"), 4),
        (("revoke", "nobody"), 6),
    ],
)
def test_what_cannot_be_is_refused(
    made: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int
) -> None:
    """Stable exit codes and a remedy."""
    if "officer-1" in arguments and code == 4:
        call(made, capsys, "create", "officer-1", "--role", "officer")
    assert call(made, capsys, *arguments)[0] == code
