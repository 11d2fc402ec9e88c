"""Cosignatures: against the published format, as inverses, and against every damage a copy may suffer."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest

from consent.errors import BadInput, EvidenceError
from consent.evidence.cosignatures import (
    WitnessSigner,
    WitnessVerifier,
    cosign,
    merge_cosignatures,
    require_quorum,
    verify_cosignatures,
)
from consent.evidence.notes import Verifier, parse_note, sign_note, verify_note
from consent.evidence.vkeys import verify_ed25519
from tests.consent.log_samples import LOG, OTHER, W1, W2, W3, MemoryLog, private_key

AT = datetime(2023, 3, 20, 12, 25, 47, tzinfo=UTC)  # the example of tlog-cosignature: time 1679315147
SMALL = MemoryLog(3)
NOTE = SMALL.note(3)
COSIGNED = cosign(NOTE, W1, AT)
ALL = [W1.verifier, W2.verifier, W3.verifier]


def payload(note: bytes, witness: WitnessSigner = W1) -> bytes:
    return parse_note(note)[1][witness.name, witness.verifier.key_id]


def with_payload(changed: bytes) -> bytes:
    line = base64.b64encode(W1.verifier.key_id + changed).decode()
    return NOTE + f"— {W1.name} {line}\n".encode()


class TestFormat:
    """C2SP tlog-cosignature, "Format" and "Ed25519 signed message", byte for byte."""

    def test_signed_message(self) -> None:
        """Two header lines and the whole note body are signed; time and signature stand in the line."""
        text, _ = parse_note(NOTE)
        time, signature = payload(COSIGNED)[:8], payload(COSIGNED)[8:]
        assert int.from_bytes(time, "big") == 1679315147
        message = b"cosignature/v1\ntime 1679315147\n" + text.encode()
        verify_ed25519(W1.verifier.public_key, message, signature, "the witness")
        with pytest.raises(EvidenceError, match="does not match"):
            verify_ed25519(W1.verifier.public_key, text.encode(), signature, "the witness")

    def test_published_witness_key(self) -> None:
        """The key ID is over the type byte 0x04: a public witness' verifier key is read and written alike."""
        vkey = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
        assert WitnessVerifier.parse_vkey(vkey).format_vkey() == vkey

    def test_types_are_kept_apart(self) -> None:
        """A log's key is no witness' key and the other way round, whoever holds both."""
        with pytest.raises(EvidenceError, match="expected key type 04"):
            WitnessVerifier.parse_vkey(LOG.verifier.format_vkey())
        with pytest.raises(EvidenceError, match="expected key type 01"):
            Verifier.parse_vkey(W1.verifier.format_vkey())
        both = WitnessSigner(LOG.name, LOG.private_key)
        assert both.verifier.key_id != LOG.verifier.key_id

    @pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb"])
    def test_unusable_name(self, name: str) -> None:
        with pytest.raises(BadInput):
            WitnessVerifier(name, bytes(32))
        with pytest.raises(BadInput):
            WitnessSigner(name, W1.private_key)

    def test_private_key_stays_private(self) -> None:
        assert repr(W1) == f"WitnessSigner(name='{W1.name}')"


class TestCosigning:
    """A cosignature is added; the log's line stays as it was."""

    def test_the_logs_line_stays(self) -> None:
        assert COSIGNED.startswith(NOTE)
        assert verify_note(COSIGNED, [LOG.verifier]) == parse_note(NOTE)[0]
        assert verify_cosignatures(COSIGNED, LOG.verifier, ALL) == [(W1.name, AT)]

    def test_several_witnesses(self) -> None:
        later = AT + timedelta(days=1)
        both = cosign(COSIGNED, W2, later)
        assert verify_cosignatures(both, LOG.verifier, ALL) == [(W1.name, AT), (W2.name, later)]
        assert verify_cosignatures(both, LOG.verifier, [W3.verifier]) == []

    def test_a_newer_one_takes_the_place(self) -> None:
        """One line per witness: a second by the same key would make the note unreadable."""
        later = AT + timedelta(hours=1)
        again = cosign(COSIGNED, W1, later)
        assert verify_cosignatures(again, LOG.verifier, ALL) == [(W1.name, later)]
        assert again.count(b"\xe2\x80\x94") == 2

    def test_only_checkpoints(self) -> None:
        with pytest.raises(EvidenceError, match="checkpoint: expected 3 lines"):
            cosign(sign_note("a handover\n", LOG), W1, AT)

    def test_no_time_before_1970(self) -> None:
        with pytest.raises(BadInput, match="after 1970"):
            cosign(NOTE, W1, datetime(1970, 1, 1, tzinfo=UTC))

    def test_a_hundred_lines_are_enough(self) -> None:
        note = NOTE
        for seed in range(99):
            note = cosign(note, WitnessSigner(f"w{seed}", private_key(100 + seed)), AT)
        with pytest.raises(EvidenceError, match="at most 100 signatures"):
            cosign(note, W1, AT)


#: By the name of the damage: the note, and what the refusal says.
DAMAGED: dict[str, tuple[bytes, str]] = {
    "altered time": (with_payload((1679315148).to_bytes(8, "big") + payload(COSIGNED)[8:]), "does not match"),
    "time zero": (
        with_payload(
            bytes(8) + W1.private_key.sign(b"cosignature/v1\ntime 0\n" + parse_note(NOTE)[0].encode())
        ),
        "0 seconds is no time",
    ),
    "time beyond the calendar": (
        with_payload(
            (2**63 - 1).to_bytes(8, "big")
            + W1.private_key.sign(
                f"cosignature/v1\ntime {2**63 - 1}\n{parse_note(NOTE)[0]}".encode(),
            )
        ),
        "is no time",
    ),
    "without time": (with_payload(payload(COSIGNED)[8:]), "expected 72 bytes, got 64"),
    "truncated": (with_payload(payload(COSIGNED)[:-1]), "expected 72 bytes, got 71"),
    "trailing garbage": (with_payload(payload(COSIGNED) + b"\0"), "expected 72 bytes, got 73"),
    "of another checkpoint": (with_payload(payload(cosign(SMALL.note(2), W1, AT))), "does not match"),
    "by another witness": (with_payload(payload(cosign(NOTE, W2, AT), W2)), "does not match"),
    "a plain signature": (with_payload(W1.private_key.sign(parse_note(NOTE)[0].encode())), "got 64"),
    "the log has not signed": (NOTE.replace(b"test\n3", b"test\n2"), "does not match"),
    "another key of the log's name": (cosign(SMALL.note(3, OTHER), W1, AT), "expected a signature by"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_cosignature(damage: str) -> None:
    """A wrong line of a known witness spoils the note, as C2SP signed-note asks."""
    note, message = DAMAGED[damage]
    with pytest.raises(EvidenceError, match=message):
        verify_cosignatures(note, LOG.verifier, ALL)


def test_every_flipped_bit_of_the_line() -> None:
    """Not one bit of a cosignature can change; an unknown name or key ID is as if it were not there."""
    for at in range(len(NOTE), len(COSIGNED) - 1):
        for bit in range(8):
            flipped = bytearray(COSIGNED)
            flipped[at] ^= 1 << bit
            try:
                found = verify_cosignatures(bytes(flipped), LOG.verifier, ALL)
            except EvidenceError:
                continue
            assert found == []


class TestQuorum:
    """Enough of the known witnesses, each counted once."""

    def test_not_reached(self) -> None:
        found = verify_cosignatures(COSIGNED, LOG.verifier, ALL)
        require_quorum(found, 1)
        with pytest.raises(EvidenceError, match="by 2 of the known witnesses, got 1"):
            require_quorum(found, 2)

    def test_one_key_under_two_names_counts_once(self) -> None:
        """The signed message does not name the cosigner, so one signature would serve both names."""
        alias = WitnessVerifier("witness.example/alias", W1.verifier.public_key)
        with pytest.raises(BadInput, match="same key"):
            verify_cosignatures(COSIGNED, LOG.verifier, [W1.verifier, alias])


class TestMerging:
    """What a witness sends back joins the note on record; nothing else of the copy does."""

    def test_joins(self) -> None:
        by_two = merge_cosignatures(COSIGNED, cosign(NOTE, W2, AT), LOG.verifier, ALL)
        assert [c.name for c in verify_cosignatures(by_two, LOG.verifier, ALL)] == [W1.name, W2.name]

    def test_the_newer_line_of_one_witness_wins(self) -> None:
        later = cosign(NOTE, W1, AT + timedelta(days=1))
        for first, second in ((COSIGNED, later), (later, COSIGNED)):
            merged = merge_cosignatures(first, second, LOG.verifier, ALL)
            assert verify_cosignatures(merged, LOG.verifier, ALL)[0].cosigned_at == AT + timedelta(days=1)

    def test_lines_of_strangers_stay_behind(self) -> None:
        copy = cosign(cosign(NOTE, W3, AT), W1, AT)
        merged = merge_cosignatures(NOTE, copy, LOG.verifier, [W1.verifier])
        assert verify_cosignatures(merged, LOG.verifier, ALL) == [(W1.name, AT)]

    def test_another_checkpoint(self) -> None:
        with pytest.raises(EvidenceError, match="another checkpoint"):
            merge_cosignatures(NOTE, cosign(SMALL.note(2), W1, AT), LOG.verifier, ALL)

    def test_nobody_known(self) -> None:
        with pytest.raises(EvidenceError, match="no cosignature by a known witness"):
            merge_cosignatures(NOTE, COSIGNED, LOG.verifier, [W2.verifier])
