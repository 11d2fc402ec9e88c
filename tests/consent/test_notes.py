"""Signed notes and checkpoints: against published examples, against damage, and as exact inverses."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.errors import BadInput, EvidenceError
from consent.evidence.notes import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    MAX_TREE_SIZE,
    Checkpoint,
    Signer,
    Verifier,
    format_checkpoint,
    parse_checkpoint,
    sign_note,
    verify_note,
)

# C2SP signed-note, "Verifier keys", "Example".
C2SP_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (
    "This is an example message.\n\n— example.com/foo"
    " Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# golang.org/x/mod/sumdb/note, note_test.go: two keys, one published seed, one text signed by both.
PETER_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
PETER_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
PETER_LINE = (
    "— PeterNeumann"
    " x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_VKEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
ENOCH_LINE = (
    "— EnochRoot"
    " rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)

LOG = Signer("example.com/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
WITNESS = Signer("example.com/witness", Ed25519PrivateKey.from_private_bytes(bytes(32)))
TEXT = format_checkpoint(LOG.name, 20852163, bytes(range(32)))
NOTE = sign_note(TEXT, LOG).decode()
LINE = NOTE.removeprefix(TEXT + "\n")
SIGNATURE = LINE.split(" ")[2].rstrip("\n")


def line_of(signer: Signer, text: str = TEXT) -> str:
    return sign_note(text, signer).decode().removeprefix(text + "\n")


def line_holding(name: str, decoded: bytes) -> str:
    return f"— {name} {base64.b64encode(decoded).decode()}\n"


class TestPublishedExamples:
    """Notes that others signed verify here, and ours come out as the same bytes."""

    def test_c2sp_example(self) -> None:
        """C2SP signed-note: the "verifier key ... verifies the following signed note"."""
        verifier = Verifier.parse_vkey(C2SP_VKEY)
        assert verify_note(C2SP_NOTE.encode(), [verifier]) == "This is an example message.\n"
        assert verifier.format_vkey() == C2SP_VKEY

    def test_go_example(self) -> None:
        """Ed25519 is deterministic (RFC 8032), so Go's key, name and text give Go's note byte for byte."""
        peter = Signer("PeterNeumann", Ed25519PrivateKey.from_private_bytes(PETER_SEED))
        assert peter.verifier.format_vkey() == PETER_VKEY
        assert sign_note(PETER_TEXT, peter).decode() == f"{PETER_TEXT}\n{PETER_LINE}"

    @pytest.mark.parametrize("lines", [PETER_LINE + ENOCH_LINE, ENOCH_LINE + PETER_LINE])
    @pytest.mark.parametrize("keys", [[PETER_VKEY], [PETER_VKEY, ENOCH_VKEY], [ENOCH_VKEY]])
    def test_go_note_of_two_keys(self, lines: str, keys: list[str]) -> None:
        """C2SP signed-note: "Verifiers MUST ignore signatures from unknown keys"."""
        verifiers = [Verifier.parse_vkey(key) for key in keys]
        assert verify_note(f"{PETER_TEXT}\n{lines}".encode(), verifiers) == PETER_TEXT

    def test_text_may_hold_empty_lines(self) -> None:
        """C2SP signed-note: "the text is separated from the signatures by the last empty line in the note"."""
        for text in ("a\n\nb\n", "a\n\n\n", "\n", "\n\n\n", f"a\n\n{LINE}"):
            assert verify_note(sign_note(text, LOG), [LOG.verifier]) == text

    def test_sixteen_signatures(self) -> None:
        """C2SP signed-note: verifiers "MUST accept at least up to 16 signatures"."""
        others = [line_holding(f"w{number}", bytes(72)) for number in range(MAX_SIGNATURES - 1)]
        assert MAX_SIGNATURES >= 16
        assert verify_note((NOTE + "".join(others)).encode(), [LOG.verifier]) == TEXT


class TestWhoSigned:
    """A text is handed out only if the log's own key, the first verifier, signed it."""

    BOTH = (NOTE + line_of(WITNESS)).encode()

    def test_unknown_keys_only(self) -> None:
        """C2SP signed-note: "If no signature from a known key verifies successfully, clients MUST reject"."""
        with pytest.raises(
            EvidenceError, match=r"expected a signature by example.com/witness\+[0-9a-f]{8}, got 1"
        ):
            verify_note(NOTE.encode(), [WITNESS.verifier])

    def test_known_keys_without_the_log(self) -> None:
        """A witness's signature does not stand in for the log's."""
        by_witness = f"{TEXT}\n{line_of(WITNESS)}".encode()
        with pytest.raises(EvidenceError, match=r"expected a signature by example.com/log\+"):
            verify_note(by_witness, [LOG.verifier, WITNESS.verifier])
        assert verify_note(self.BOTH, [LOG.verifier, WITNESS.verifier]) == TEXT

    def test_no_key_at_all(self) -> None:
        with pytest.raises(EvidenceError, match="expected the log's own key"):
            verify_note(NOTE.encode(), [])

    def test_wrong_signature_by_a_known_key(self) -> None:
        """C2SP signed-note: "If a signature from a known key fails to verify, clients SHOULD reject the whole
        note": also when the log's own signature is right.
        """
        wrong = (NOTE + line_of(WITNESS, "another text\n")).encode()
        assert verify_note(wrong, [LOG.verifier]) == TEXT
        with pytest.raises(EvidenceError, match="does not match"):
            verify_note(wrong, [LOG.verifier, WITNESS.verifier])

    def test_same_name_other_key(self) -> None:
        """C2SP signed-note: unknown keys are ignored "even if they share a name or ID (but not both)"."""
        namesake = Signer(LOG.name, WITNESS.private_key)
        assert verify_note((NOTE + line_of(namesake)).encode(), [LOG.verifier]) == TEXT
        with pytest.raises(EvidenceError, match="expected a signature by"):
            verify_note(f"{TEXT}\n{line_of(namesake)}".encode(), [LOG.verifier])

    def test_same_name_and_id_other_key(self) -> None:
        """A 4-byte ID can be collided; the signature then fails against the key that was configured."""
        forged = LOG.verifier.key_id + WITNESS.private_key.sign(TEXT.encode())
        with pytest.raises(EvidenceError, match="does not match"):
            verify_note(f"{TEXT}\n{line_holding(LOG.name, forged)}".encode(), [LOG.verifier])

    def test_two_signers(self) -> None:
        """A note may be signed by two keys at once; either opens it, and each line stays as it would be alone."""
        note = sign_note(TEXT, LOG, WITNESS)
        assert note == self.BOTH
        assert verify_note(note, [WITNESS.verifier]) == verify_note(note, [LOG.verifier]) == TEXT

    def test_public_half_is_calculated_once(self) -> None:
        """The ledger signs on a hot path, so neither the public key nor its ID is calculated anew."""
        assert LOG.verifier is LOG.verifier
        assert LOG.verifier.key_id is LOG.verifier.key_id

    def test_private_key_stays_private(self) -> None:
        assert repr(LOG) == "Signer(name='example.com/log')"


FORMAT = "expected a text, a blank line and signature lines"
LINE_1, LINE_2 = (f"signature line {n} is not an em dash, a key name and a signature" for n in (1, 2))
BASE64_1, BASE64_2 = (f"signature line {n} does not hold canonical base64" for n in (1, 2))
CONTROL, NEWLINE, UTF8 = "holds a control character", "does not end with a newline", "not UTF-8 at byte"
UNSIGNED, MISMATCH, REPEATED = (
    "expected a signature by",
    "does not match",
    "by the same key as an earlier one",
)
DECODED = base64.b64decode(SIGNATURE)


def with_signature(signature: str) -> str:
    return f"{TEXT}\n— {LOG.name} {signature}\n"


#: By the name of the damage: the note, and what the refusal says.
DAMAGED_NOTES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", NEWLINE),
    "text only": (TEXT, FORMAT),
    "no signature line": (TEXT + "\n", FORMAT),
    "no text": ("\n" + LINE, FORMAT),
    "missing blank line": (TEXT + LINE, FORMAT),
    "missing blank line after a text with one": (f"a\n\nb\n{line_of(LOG, 'b' + chr(10))}", LINE_1),
    "two blank lines": (f"{TEXT}\n\n{LINE}", MISMATCH),
    "blank line between signatures": (f"{NOTE}\n{line_of(WITNESS)}", UNSIGNED),
    "blank line at the end": (NOTE + "\n", FORMAT),
    "no newline at the end": (NOTE[:-1], NEWLINE),
    "trailing garbage": (NOTE + "garbage\n", LINE_2),
    "leading garbage": ("garbage" + NOTE, MISMATCH),
    "leading blank line": ("\n" + NOTE, MISMATCH),
    "byte order mark": ("\ufeff" + NOTE, MISMATCH),
    "text changed": (NOTE.replace("20852163", "20852164"), MISMATCH),
    "text shortened": (NOTE.replace("20852163\n", ""), MISMATCH),
    "text extended": (NOTE.replace("\n\n", "\nmore\n\n"), MISMATCH),
    "carriage returns": (NOTE.replace("\n", "\r\n"), CONTROL),
    "one carriage return": (NOTE.replace("\n\n", "\r\n\n"), CONTROL),
    "null in the text": ("\x00" + NOTE, CONTROL),
    "tab in the text": (NOTE.replace("\n\n", "\t\n\n"), CONTROL),
    "escape in a key name": (NOTE.replace("— example", "— \x1bexample"), CONTROL),
    "not UTF-8": (b"\xff" + NOTE.encode(), UTF8),
    "UTF-16": (NOTE.encode("utf-16"), UTF8),
    "surrogate": (NOTE.replace("\n\n", "\ud800\n\n").encode(errors="surrogatepass"), UTF8),
    "hyphen for the dash": (NOTE.replace("—", "-"), LINE_1),
    "two hyphens for the dash": (NOTE.replace("—", "--"), LINE_1),
    "no space after the dash": (NOTE.replace("— ", "—"), LINE_1),
    "two spaces": (NOTE.replace("— ", "—  "), LINE_1),
    "space before the dash": (NOTE.replace("—", " —"), LINE_1),
    "space at the end of the line": (NOTE[:-1] + " \n", LINE_1),
    "no key name": (NOTE.replace(f"— {LOG.name} ", "— "), LINE_1),
    "space in the key name": (NOTE.replace("— example", "— exam ple"), LINE_1),
    "no-break space in the key name": (NOTE.replace("— example", "— exam\u00a0ple"), LINE_1),
    "line separator in the key name": (NOTE.replace("— example", "— exam\u2028ple"), LINE_1),
    "plus in the key name": (NOTE.replace("— example", "— exam+ple"), LINE_1),
    "other key name": (NOTE.replace("— example", "— exemple"), UNSIGNED),
    "no signature": (f"{TEXT}\n— {LOG.name}\n", LINE_1),
    "base64 without padding": (with_signature(SIGNATURE.rstrip("=")), BASE64_1),
    "base64 with more padding": (with_signature(SIGNATURE + "="), BASE64_1),
    "base64 with garbage": (with_signature(SIGNATURE[:20] + "!" + SIGNATURE[20:]), BASE64_1),
    "base64 of the URL alphabet": (f"{NOTE}— w AAAA_-==\n", BASE64_2),
    "base64 with letters of another script": (with_signature("а" + SIGNATURE[1:]), BASE64_1),
    "base64 with stray bits": (f"{NOTE}— w AAAAAAB=\n", BASE64_2),
    "base64 of a key ID alone": (f"{NOTE}— w AAAAAA==\n", BASE64_2),
    "short signature": (f"{TEXT}\n{line_holding(LOG.name, DECODED[:-1])}", MISMATCH),
    "long signature": (f"{TEXT}\n{line_holding(LOG.name, DECODED + bytes(1))}", MISMATCH),
    "zero signature": (f"{TEXT}\n{line_holding(LOG.name, DECODED[:4] + bytes(64))}", MISMATCH),
    "other key ID": (f"{TEXT}\n{line_holding(LOG.name, bytes(4) + DECODED[4:])}", UNSIGNED),
    "signature of another text": (f"{TEXT}\n{line_of(LOG, 'another text' + chr(10))}", MISMATCH),
    "repeated signature line": (NOTE + LINE, REPEATED),
    "repeated line of an unknown key": (NOTE + line_of(WITNESS) * 2, REPEATED),
    "two signatures by an unknown key": (
        NOTE + line_holding("w", bytes(68)) + line_holding("w", bytes(72)),
        REPEATED,
    ),
    "second signature by the log": (NOTE + line_holding(LOG.name, DECODED[:4] + bytes(64)), REPEATED),
    "too many signatures": (
        NOTE + "".join(line_holding(f"w{n}", bytes(68)) for n in range(MAX_SIGNATURES)),
        "expected at most 100 signatures, got 101",
    ),
    "too long": (NOTE + line_holding("w", bytes(MAX_NOTE_BYTES)), "expected at most 1000000 bytes"),
}


class TestDamagedNotes:
    """A note damaged in any of these ways is refused as a whole, whoever signed it."""

    @pytest.mark.parametrize("damage", DAMAGED_NOTES)
    def test_is_refused(self, damage: str) -> None:
        note, message = DAMAGED_NOTES[damage]
        encoded = note if isinstance(note, bytes) else note.encode()
        with pytest.raises(EvidenceError, match=message) as caught:
            verify_note(encoded, [LOG.verifier])
        assert caught.value.remedy

    def test_every_flipped_bit(self) -> None:
        """Not one bit of text, name, key ID or signature can change."""
        for at in range(len(NOTE.encode())):
            for bit in (1, 0x20, 0x80):
                flipped = bytearray(NOTE.encode())
                flipped[at] ^= bit
                with pytest.raises(EvidenceError):
                    verify_note(bytes(flipped), [LOG.verifier])

    @pytest.mark.parametrize(
        "text", ["", "no newline", "a\r\n", "\x00\n", "tab\t\n", "\ud800\n", "x" * MAX_NOTE_BYTES + "\n"]
    )
    def test_is_not_signed(self, text: str) -> None:
        """What `verify_note` would refuse, `sign_note` does not sign."""
        with pytest.raises(BadInput, match="cannot sign a note"):
            sign_note(text, LOG)

    @settings(max_examples=60, deadline=None)
    @given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.just("\n")))
    def test_any_text_comes_back(self, lines: str) -> None:
        """`verify_note` returns exactly the text that `sign_note` was given."""
        assert verify_note(sign_note(lines + "\n", LOG), [LOG.verifier]) == lines + "\n"


class TestVerifierKeys:
    """C2SP signed-note: ``<key name>+hex(32-bit key ID)+base64(signature type || public key)``."""

    def test_no_part_of_a_key_is_a_key(self) -> None:
        for lo in range(len(PETER_VKEY)):
            for hi in range(lo + 1, len(PETER_VKEY) + (lo > 0)):
                with pytest.raises(EvidenceError):
                    Verifier.parse_vkey(PETER_VKEY[lo:hi])

    def test_no_changed_key_is_a_key(self) -> None:
        for at, sign in enumerate(PETER_VKEY):
            with pytest.raises(EvidenceError):
                Verifier.parse_vkey(PETER_VKEY[:at] + chr(ord(sign) + 1) + PETER_VKEY[at + 1 :])

    @pytest.mark.parametrize(
        ("vkey", "message"),
        [
            (
                "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
                "expected a name",  # Go's own: the base64 has stray bits
            ),
            ("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "got 65 with 32"),
            ("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10Q=", "got 01 with 31"),
            (PETER_VKEY.replace("c74f20a3", "c74f20a4"), "expected key ID c74f20a4, calculated c74f20a3"),
            (PETER_VKEY.replace("c74f20a3", "C74F20A3"), "expected a name"),
            (PETER_VKEY.replace("PeterNeumann", ""), "expected a name"),
            (PETER_VKEY.replace("PeterNeumann", "Peter Neumann"), "expected a name"),
            (PETER_VKEY.replace("PeterNeumann", "Peter\u2003Neumann"), "expected a name"),
            (PETER_VKEY + "\n", "expected a name"),
            (" " + PETER_VKEY, "expected a name"),
            (PETER_VKEY + "+", "expected a name"),
        ],
    )
    def test_damaged_key(self, vkey: str, message: str) -> None:
        with pytest.raises(EvidenceError, match=message):
            Verifier.parse_vkey(vkey)

    @settings(max_examples=60, deadline=None)
    @given(
        st.text(
            st.characters(codec="utf-8", exclude_categories=["Cc", "Z"], exclude_characters="+"), min_size=1
        ),
        st.binary(min_size=32, max_size=32),
    )
    def test_format_and_parse_are_inverse(self, name: str, public_key: bytes) -> None:
        verifier = Verifier(name, public_key)
        assert Verifier.parse_vkey(verifier.format_vkey()) == verifier

    @pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\x00b", "a\u00a0b", "\ud800"])
    def test_unusable_name(self, name: str) -> None:
        """C2SP signed-note: "Key names MUST be non-empty and MUST NOT contain any Unicode spaces or plus"."""
        with pytest.raises(BadInput):
            Verifier(name, bytes(32))
        with pytest.raises(BadInput):
            Signer(name, LOG.private_key)

    def test_unusable_length(self) -> None:
        with pytest.raises(BadInput, match="expected a public key of 32 bytes, got 31"):
            Verifier("a", bytes(31))


ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
EXAMPLE = f"example.com/behind-the-sofa\n20852163\n{ROOT}\n"  # C2SP tlog-checkpoint

LINES = "expected 3 lines, each ended by a newline, and nothing else"
DECIMAL = "not a decimal number without leading zeros"
BASE64 = "the root is not canonical base64"

#: By the name of the damage: the text, and what the refusal says.
DAMAGED_CHECKPOINTS: dict[str, tuple[str, str]] = {
    "empty": ("", LINES),
    "two lines": ("log\n1\n", LINES),
    "no newline at the end": (EXAMPLE[:-1], LINES),
    "blank line at the end": (EXAMPLE + "\n", LINES),
    "extension line": (EXAMPLE + "extension\n", LINES),
    "leading blank line": ("\n" + EXAMPLE, LINES),
    "empty origin": (f"\n1\n{ROOT}\n", "the origin is empty"),
    "control character in the origin": (f"lo\x7fg\x00\n1\n{ROOT}\n", "the origin holds a control character"),
    "carriage returns": (EXAMPLE.replace("\n", "\r\n"), DECIMAL),
    "empty size": (f"log\n\n{ROOT}\n", DECIMAL),
    "leading zero": (f"log\n01\n{ROOT}\n", DECIMAL),
    "two zeros": (f"log\n00\n{ROOT}\n", DECIMAL),
    "plus sign": (f"log\n+1\n{ROOT}\n", DECIMAL),
    "negative": (f"log\n-1\n{ROOT}\n", DECIMAL),
    "space before the size": (f"log\n 1\n{ROOT}\n", DECIMAL),
    "underscore": (f"log\n1_0\n{ROOT}\n", DECIMAL),
    "hexadecimal": (f"log\n0x1\n{ROOT}\n", DECIMAL),
    "fraction": (f"log\n1.0\n{ROOT}\n", DECIMAL),
    "digits of another script": (f"log\n١\n{ROOT}\n", DECIMAL),
    "digits of two scripts": (f"log\n1١\n{ROOT}\n", DECIMAL),
    "size of 64 bits": (f"log\n{MAX_TREE_SIZE + 1}\n{ROOT}\n", "expected a tree size from 0 to"),
    "size of 5,000 digits": (f"log\n{'9' * 5_000}\n{ROOT}\n", DECIMAL),
    "empty root": ("log\n1\n\n", "expected a root of 32 bytes, got 0"),
    "root of 31 bytes": (
        f"log\n1\n{base64.b64encode(bytes(31)).decode()}\n",
        "expected a root of 32 bytes, got 31",
    ),
    "root of 33 bytes": (
        f"log\n1\n{base64.b64encode(bytes(33)).decode()}\n",
        "expected a root of 32 bytes, got 33",
    ),
    "root without padding": (EXAMPLE.replace("=", ""), BASE64),
    "root with stray bits": (EXAMPLE.replace("q2I=", "q2J="), BASE64),
    "root in hexadecimal": (f"log\n1\n{'00' * 32}\n", "expected a root of 32 bytes, got 48"),
    "space after the root": (f"log\n1\n{ROOT} \n", BASE64),
}


CHECKPOINTS = st.builds(
    Checkpoint,
    origin=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1),
    tree_size=st.integers(0, MAX_TREE_SIZE),
    root=st.binary(min_size=32, max_size=32),
)


class TestCheckpoints:
    """C2SP tlog-checkpoint: origin, tree size with "no leading zeroes", base64 root; one line each."""

    def test_c2sp_example(self) -> None:
        expected = Checkpoint("example.com/behind-the-sofa", 20852163, base64.b64decode(ROOT))
        assert parse_checkpoint(EXAMPLE) == expected

    @settings(max_examples=100, deadline=None)
    @given(CHECKPOINTS)
    def test_parse_inverts_format(self, checkpoint: Checkpoint) -> None:
        text = format_checkpoint(checkpoint.origin, checkpoint.tree_size, checkpoint.root)
        assert parse_checkpoint(text) == checkpoint
        assert parse_checkpoint(verify_note(sign_note(text, LOG), [LOG.verifier])) == checkpoint

    @settings(max_examples=200, deadline=None)
    @given(CHECKPOINTS, st.data())
    def test_format_inverts_parse(self, checkpoint: Checkpoint, data: st.DataObject) -> None:
        """Whatever text is accepted is the one text its values are written as."""
        text = format_checkpoint(checkpoint.origin, checkpoint.tree_size, checkpoint.root)
        lo = data.draw(st.integers(0, len(text)))
        hi = data.draw(st.integers(lo, min(len(text), lo + 2)))
        changed = text[:lo] + data.draw(st.text("0019A=+/-_ \n\r\t\x00é", max_size=2)) + text[hi:]
        try:
            parsed = parse_checkpoint(changed)
        except EvidenceError:
            return
        assert format_checkpoint(parsed.origin, parsed.tree_size, parsed.root) == changed

    @pytest.mark.parametrize("damage", DAMAGED_CHECKPOINTS)
    def test_damaged_checkpoint(self, damage: str) -> None:
        text, message = DAMAGED_CHECKPOINTS[damage]
        with pytest.raises(EvidenceError, match=f"checkpoint: .*{message}"):
            parse_checkpoint(text)

    @pytest.mark.parametrize(
        ("origin", "tree_size", "root", "message"),
        [
            ("", 1, bytes(32), "the origin is empty"),
            ("two\nlines", 1, bytes(32), "control character"),
            ("a\x00b", 1, bytes(32), "control character"),
            ("log", -1, bytes(32), "expected a tree size from 0 to 9223372036854775807, got -1"),
            ("log", MAX_TREE_SIZE + 1, bytes(32), "expected a tree size"),
            ("log", 1, bytes(31), "expected a root of 32 bytes, got 31"),
        ],
    )
    def test_is_not_written(self, origin: str, tree_size: int, root: bytes, message: str) -> None:
        """What `parse_checkpoint` would refuse, `format_checkpoint` does not write."""
        with pytest.raises(BadInput, match=message):
            format_checkpoint(origin, tree_size, root)
