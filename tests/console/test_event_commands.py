"""What happens to consents after they were given, and questions about two times, through the command."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from consent.home import Home
from console.cli import run
from tests.console.test_cli import TERMS

Call = Callable[..., tuple[int, str, str]]
QUESTION = ("consent", "decide", "C-1", "--source", "spending", "--purpose", "credit_scoring")


@pytest.fixture
def call(empty_home: Home, capsys: pytest.CaptureFixture[str]) -> Call:
    def one(*arguments: str) -> tuple[int, str, str]:
        code = run([*arguments, "--home", str(empty_home.root)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    about = ("--source", "spending", "--purpose", "credit_scoring", "--purpose", "model_training")
    assert one("consent", "record", "C-1", *about, *TERMS)[0] == 0
    return one


STORIES = {
    "paused": ([("consent", "pause", "C-1")], "PAUSED"),
    "resumed": ([("consent", "pause", "C-1"), ("consent", "resume", "C-1", "--source", "spending")], None),
    "revoked": ([("consent", "revoke", "C-1", "--by", "guardian", "--basis", "letter 118")], "REVOKED"),
    "superseded": ([("consent", "supersede", "C-1", "--source", "spending")], "SUPERSEDED"),
    "invalidated": ([("consent", "invalidate", "C-1", "--basis", "order 77")], "INVALIDATED"),
    "held": ([("hold", "place", "C-1", "--name", "17", "--basis", "order 4")], "RESTRICTED"),
    "released": (
        [
            ("hold", "place", "C-1", "--name", "17", "--basis", "order 4"),
            ("hold", "release", "C-1", "--name", "17"),
        ],
        None,
    ),
    "linked": ([("consent", "link", "C-1", "C-2", "--source", "spending")], "NO_GRANT"),
    "erasure requested": ([("consent", "request-erasure", "C-1")], "RESTRICTED"),
}


@pytest.mark.parametrize("story", STORIES)
def test_each_event_counts_from_the_very_next_question(call: Call, story: str) -> None:
    """Recorded with 0, and the next decision has its reason; the same again is refused with the state it met."""
    commands, reason = STORIES[story]
    for command in commands:
        code, out, err = call(*command)
        assert (code, err) == (0, ""), command
        assert out.startswith("recorded: ")
    code, _, err = call(*QUESTION)
    assert code == (0 if reason is None else 3)
    assert reason is None or f": {reason}" in err
    if story != "linked":
        code, _, err = call(*commands[-1])
        assert code == 4
        assert "the state is " in err


def test_one_grant_can_be_named(call: Call) -> None:
    """`--grant` takes the id that `consent show --json` gives, and leaves the other grants alone."""
    history = json.loads(call("consent", "show", "C-1", "--json")[1])["history"]
    grant = next(e["grant_id"] for e in history if e["purpose"] == "model_training")
    assert call("consent", "invalidate", "C-1", "--grant", grant, "--basis", "order 77")[0] == 0
    assert call(*QUESTION)[0] == 0
    assert "INVALIDATED" in call(*QUESTION[:-1], "model_training")[2]
    assert call("consent", "invalidate", "C-1", "--grant", "0" * 32, "--basis", "order 77")[0] == 4


def test_a_renewal_names_what_it_renews(call: Call) -> None:
    """`--replaces` is checked: a grant that is not on record cannot be renewed."""
    history = json.loads(call("consent", "show", "C-1", "--json")[1])["history"]
    grant = next(e["grant_id"] for e in history if e["purpose"] == "credit_scoring")
    renew = (
        "consent",
        "record",
        "C-1",
        "--source",
        "spending",
        "--purpose",
        "credit_scoring",
        *TERMS,
        "--replaces",
    )
    assert call(*renew, "0" * 32)[0] == 4
    assert call(*renew, grant)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("consent", "revoke", "C-1", "--by", "the moon", "--basis", "b"), 6),
        (("consent", "revoke", "C-1", "--by", "subject", "--basis", "b"), 6),
        (("consent", "revoke", "C-1", "--by", "guardian"), 2),
        (("consent", "pause", "C-1", "--source", "horoscopes"), 6),
        (("consent", "pause", "nobody"), 6),
        (("consent", "link", "C-1", "C-1", "--source", "spending"), 6),
        (("hold", "place", "C-1", "--name", "17"), 2),
        (("hold", "release", "C-1", "--name", "unknown"), 4),
        (
            (
                "consent",
                "review",
                "C-1",
                "--source",
                "spending",
                "--purpose",
                "credit_scoring",
                "--read-at",
                "soon",
            ),
            6,
        ),
        (("consent", "eligible", "--source", "contacts", "--purpose", "credit_scoring"), 3),
        (("consent", "eligible", "--source", "spending", "--purpose", "horoscopes"), 2),
        (("consent", "eligible", "--source", "spending", "--purpose", "credit_scoring", "--receipt", "x"), 6),
        (("consent", "changes", "--from", "yesterday"), 6),
    ],
)
def test_what_cannot_be_is_told(call: Call, arguments: tuple[str, ...], code: int) -> None:
    """Stable exit codes, and nothing is recorded."""
    before = call("consent", "show", "C-1", "--json")[1]
    got, out, err = call(*arguments)
    assert (got, out) == (code, ""), err
    assert err.startswith("assent: ")
    assert json.loads(call("consent", "show", "C-1", "--json")[1])["history"] == json.loads(before)["history"]


def test_review_eligible_and_changes(call: Call, tmp_path: Path) -> None:
    """The same answers as text, as JSON and as a file; people by their pseudonyms only."""
    key = json.loads(call("consent", "show", "C-1", "--json")[1])["subject_key"]
    about = ("--source", "spending", "--purpose", "model_training")
    review = call("consent", "review", "C-1", *about, "--read-at", "2098-01-01", "--json")
    assert json.loads(review[1])["verdict"] == "LAWFUL"
    assert "UNLAWFUL" in call("consent", "review", "nobody", *about, "--read-at", "2026-01-01")[1]
    found = json.loads(call("consent", "eligible", *about, "--json")[1])
    assert (found["eligible"], found["subject_keys"]) == (1, [key])
    assert (
        json.loads(call("consent", "eligible", *about, "--known-at", "2020-01-01", "--json")[1])["eligible"]
        == 0
    )
    out = tmp_path / "eligible.csv"
    assert call("consent", "eligible", *about, "--out", str(out))[0] == 0
    assert out.read_text().split() == ["subject_key", key]
    changed = json.loads(call("consent", "changes", "--from", "2020-01-01", "--json")[1])
    assert changed["entries"] == {"given": 2}
    assert {c["now"] for c in changed["changes"]} == {"GIVEN"}
    assert "nothing" in call("consent", "changes", "--from", "2098-01-01", "--until", "2098-01-02")[1]


def test_the_keys_and_tables_of_the_log(call: Call, tmp_path: Path, empty_home: Home) -> None:
    """A handed-over key, a lost anchor and an up-to-date ledger, each with its command."""
    held = tmp_path / "held.checkpoint"
    first = json.loads(call("log", "checkpoint", "--out", str(held), "--json")[1])["verifier_key"]
    rotated = json.loads(call("log", "rotate-key", "--json")[1])
    assert rotated["verifier_key"] != first
    assert call("consent", "pause", "C-1")[0] == 0
    assert call("log", "audit", "--checkpoint", str(held))[0] == 0
    assert call("log", "handovers", "--out", str(tmp_path))[0] == 0
    newest = tmp_path / "newest.checkpoint"
    assert call("log", "checkpoint", "--out", str(newest))[0] == 0
    files = [str(newest), "--key", first, "--held", str(held)]
    assert run(["log", "verify", *files]) != 0
    assert run(["log", "verify", *files, "--handover", str(tmp_path / "0001.handover")]) == 0
    empty_home.keyring.anchor(empty_home.settings.origin).unlink()
    assert call(*QUESTION)[0] == 4
    assert call("log", "re-anchor", "--checkpoint", str(held))[0] == 0
    assert call("log", "audit")[0] == 0
    assert json.loads(call("log", "migrate", "--json")[1]) == {"before": "0002", "after": "0002"}
