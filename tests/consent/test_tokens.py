"""Bearer tokens: told once, good until they end, and of no use to whoever has only the file."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from consent.errors import BadInput, Conflict, EvidenceError
from consent.home import Home
from consent.tokens import LONGEST_LIFE, Role, Token, Tokens
from tests.consent.consent_samples import Clock

KEY = bytes(range(32))
DAY = timedelta(days=1)


@pytest.fixture
def tokens(tmp_path: Path, clock: Clock) -> Tokens:
    return Tokens(tmp_path / "tokens.db", KEY, clock=clock)


def test_a_token_is_found_by_its_secret_alone(tokens: Tokens, clock: Clock) -> None:
    """256 random bits, told once; name, role and end come back."""
    secret = tokens.create("loan-app", Role.RECORDER, clock() + DAY)
    other = tokens.create("scores", Role.MODELER, clock() + DAY)
    assert len(secret) == len("assent_") + 43
    assert secret != other
    assert tokens.find(secret) == Token("loan-app", Role.RECORDER, clock(), clock() + DAY)
    assert tokens.find(other).role is Role.MODELER  # type: ignore[union-attr]
    assert [t.name for t in tokens.all()] == ["loan-app", "scores"]


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "assent_",
        "assent_" + "A" * 43,
        "assent_" + "A" * 42,
        "x" * 100_000,
        "' OR 1=1 --",
        "\ud800",
        "\x00",
    ],
)
def test_what_was_never_made_is_not_found(tokens: Tokens, clock: Clock, secret: str) -> None:
    tokens.create("loan-app", Role.RECORDER, clock() + DAY)
    assert tokens.find(secret) is None


def test_a_changed_secret_is_not_found(tokens: Tokens, clock: Clock) -> None:
    """Neither with another letter, nor with more around it."""
    secret = tokens.create("loan-app", Role.RECORDER, clock() + DAY)
    changed = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    assert [tokens.find(s) for s in (changed, secret + "A", secret + "\n", secret.upper())] == [None] * 4


def test_it_ends(tokens: Tokens, clock: Clock) -> None:
    """At its end, not a moment later."""
    secret = tokens.create("loan-app", Role.RECORDER, clock() + DAY)
    clock.now += DAY - timedelta(microseconds=1)
    assert tokens.find(secret) is not None
    clock.now += timedelta(microseconds=1)
    assert tokens.find(secret) is None


def test_a_revocation_counts_at_once_also_elsewhere(tokens: Tokens, tmp_path: Path, clock: Clock) -> None:
    """Somebody who has the file open sees it at the next look; doing it twice keeps the first instant."""
    elsewhere = Tokens(tmp_path / "tokens.db", KEY, clock=clock)
    secret = tokens.create("loan-app", Role.RECORDER, clock() + DAY)
    assert elsewhere.find(secret) is not None
    ended = tokens.revoke("loan-app")
    assert elsewhere.find(secret) is None
    clock.now += timedelta(hours=1)
    assert elsewhere.revoke("loan-app") == ended
    with pytest.raises(BadInput):
        tokens.revoke("nobody")


def test_a_name_is_used_once(tokens: Tokens, clock: Clock) -> None:
    """Also after its token was revoked: the access log tells callers apart by it."""
    tokens.create("loan-app", Role.RECORDER, clock() + DAY)
    tokens.revoke("loan-app")
    with pytest.raises(Conflict):
        tokens.create("loan-app", Role.RECORDER, clock() + DAY)


@pytest.mark.parametrize("name", ["", "A", "a b", "a/b", "a" * 65, "-a", "é", "a\n", "客户"])
def test_odd_names_are_refused(tokens: Tokens, clock: Clock, name: str) -> None:
    with pytest.raises(BadInput):
        tokens.create(name, Role.OFFICER, clock() + DAY)


@pytest.mark.parametrize("life", [timedelta(0), -DAY, LONGEST_LIFE + timedelta(microseconds=1)])
def test_odd_ends_are_refused(tokens: Tokens, clock: Clock, life: timedelta) -> None:
    with pytest.raises(BadInput):
        tokens.create("a", Role.OFFICER, clock() + life)


@pytest.mark.parametrize(
    "change",
    [
        "role = 'officer'",
        "expires_at = expires_at + 1",
        "revoked_at = NULL",
        "name = 'b'",
        "created_at = created_at - 1",
    ],
)
def test_a_changed_row_is_evidence(tokens: Tokens, tmp_path: Path, clock: Clock, change: str) -> None:
    """Whoever can write the file, but has no keyring, gains nothing: not a stronger role, not a longer life."""
    secret = tokens.create("loan-app", Role.RECORDER, clock() + DAY)
    tokens.revoke("loan-app")
    with sqlite3.connect(tmp_path / "tokens.db") as connection:
        connection.execute(f"UPDATE token SET {change}")
    with pytest.raises(EvidenceError):
        tokens.find(secret)


def test_the_file_holds_no_secret(tokens: Tokens, tmp_path: Path, clock: Clock) -> None:
    """And a row copied under another home's key is found by nobody."""
    secret = tokens.create("loan-app", Role.RECORDER, clock() + DAY)
    tokens.close()
    for path in tmp_path.iterdir():
        assert secret.removeprefix("assent_").encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0
    shutil.copy(tmp_path / "tokens.db", tmp_path / "other.db")
    assert Tokens(tmp_path / "other.db", bytes(32), clock=clock).find(secret) is None


def test_a_home_has_tokens_in_every_process(empty_home: Home) -> None:
    """Made in one process, found in another."""
    secret = empty_home.tokens.create("loan-app", Role.RECORDER, empty_home.ledger.now() + DAY)
    script = (
        "import sys; from pathlib import Path; from consent.home import Home;"
        "print(Home.open(Path(sys.argv[1])).tokens.find(sys.stdin.read()).role)"
    )
    command = [sys.executable, "-c", script, str(empty_home.root)]
    done = subprocess.run(command, input=secret, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "recorder"
