"""Proof files and disclosures: exact inverses, true for one place of one tree, and broken by any damage."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.errors import BadInput, EvidenceError, Gap
from consent.evidence.disclosure import Disclosure, format_disclosure, parse_disclosure
from consent.evidence.merkle import verify_consistency
from consent.evidence.notes import Verifier, parse_checkpoint, sign_note, verify_note
from consent.evidence.proofs import (
    AddCheckpoint,
    TlogProof,
    format_add_checkpoint,
    format_tlog_proof,
    parse_add_checkpoint,
    parse_tlog_proof,
    verify_add_checkpoint,
    verify_tlog_proof,
)
from consent.evidence.prove import prove_entry, prove_growth
from consent.evidence.trust import Trust
from tests.consent.log_samples import LOG, OTHER, STRANGER, TRUST, MemoryLog

TREE = MemoryLog(7)
PROOF, RECORD = prove_entry(TREE, 4, TREE.note(7))
GROWTH = prove_growth(TREE, TREE.note(3))
HASHES = st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple)


def verify(proof: bytes, record: bytes = RECORD, trust: Trust = TRUST) -> None:
    verify_tlog_proof(parse_tlog_proof(proof), parse_disclosure(record).entry(), trust)


class TestFormats:
    """C2SP tlog-proof and tlog-witness, and strict inverses of them."""

    def test_proof_lines(self) -> None:
        """Header, index, siblings, an empty line, then the checkpoint verbatim."""
        head, _, note = PROOF.partition(b"\n\n")
        lines = head.decode().split("\n")
        assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 4"]
        assert [len(base64.b64decode(line)) for line in lines[2:]] == [32, 32, 32]
        assert note == TREE.note(7)

    def test_extra_line(self) -> None:
        """C2SP tlog-proof: "The second line MAY start with the string extra"."""
        proof = replace(parse_tlog_proof(PROOF), extra=b"extra information")
        content = format_tlog_proof(proof)
        assert content.split(b"\n")[1] == b"extra ZXh0cmEgaW5mb3JtYXRpb24="
        assert parse_tlog_proof(content) == proof
        verify(content)

    def test_published_growth(self) -> None:
        """The log and consistency proof that a public witness is tested with hold here as well."""
        verifier = Verifier.parse_vkey("monkeys+db4d9f7e+AULaJMvTtDLHPUcUrjdDad9vDlh/PTfC2VV60JUtCfWT")
        old, new = (
            parse_checkpoint(verify_note(f"monkeys\n{text}".encode(), [verifier]))
            for text in (
                "5\n41smjBUiAU70EtKlT6lIOIYtRTYxYXsDB+XHfcvu/BE=\n\n— monkeys 202fftzGl3LVoqjXfwCFZZXs8I+5"
                "G22+Ek2K0AOyBuSJ/8/CZawNF+6fNlTKOCd622pbzJNkkJFWuw9DbicZCkEx9AY=\n",
                "8\nV8K9aklZ4EPB+RMOk1/8VsJUdFZR77GDtZUQq84vSbo=\n\n— monkeys 202ffoUEboiQYpHzICeaFmoy3RNv"
                "iHTpAxYrq/eO4QQVQMvu9UebKBMX2MJC76NLthZaKsnKbCA8GxrjePZhvDCH7Ag=\n",
            )
        )
        proof = [
            bytes.fromhex("b9e1d62618f7fee8034e4c5010f727ab24d8e4705cb296c374bf2025a87a10d2"),
            bytes.fromhex("aac66cd7a79ce4012d80762fe8eec3a77f22d1ca4145c3f4cee022e7efcd599d"),
            bytes.fromhex("89d0f753f66a290c483b39cd5e9eafb12021293395fad3d4a2ad053cfbcfdc9e"),
            bytes.fromhex("29e40bb79c966f4c6fe96aff6f30acfce5f3e8d84c02215175d6e018a5dee833"),
        ]
        verify_consistency(old.tree_size, old.root, new.tree_size, new.root, proof)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**63 - 1), HASHES, st.binary(max_size=40))
    def test_inverse(self, number: int, hashes: tuple[bytes, ...], extra: bytes) -> None:
        """What is written is read back, whatever the numbers."""
        proof = TlogProof(number, hashes, TREE.note(7), extra)
        assert parse_tlog_proof(format_tlog_proof(proof)) == proof
        request = AddCheckpoint(number, hashes, TREE.note(7))
        assert parse_add_checkpoint(format_add_checkpoint(request)) == request

    @pytest.mark.parametrize(
        ("number", "hashes"), [(-1, ()), (2**63, ()), (0, (b"",)), (0, (bytes(32),) * 64)]
    )
    def test_is_not_written(self, number: int, hashes: tuple[bytes, ...]) -> None:
        with pytest.raises(BadInput, match="cannot write a proof"):
            format_tlog_proof(TlogProof(number, hashes, TREE.note(7)))
        with pytest.raises(BadInput, match="cannot write a proof"):
            format_add_checkpoint(AddCheckpoint(number, hashes, TREE.note(7)))


class TestEveryPlace:
    """Every entry of every small tree is proved, and every growth."""

    def test_inclusion(self) -> None:
        for size in range(1, 20):
            tree = MemoryLog(size)
            for index in range(size):
                proof, record = prove_entry(tree, index, tree.note(size))
                verify(proof, record)

    def test_growth(self) -> None:
        for new in range(1, 20):
            tree = MemoryLog(new)
            for old in range(1, new + 1):
                request = parse_add_checkpoint(prove_growth(tree, tree.note(old)))
                pinned = verify_add_checkpoint(request, TRUST.verified(tree.note(old)), TRUST)
                assert pinned.checkpoint == tree.at(new)

    def test_against_an_earlier_checkpoint(self) -> None:
        """A proof may hang on a checkpoint that witnesses cosigned some time ago."""
        verify(*prove_entry(TREE, 4, TREE.note(5)))

    def test_first_request(self) -> None:
        """A witness that holds nothing is sent the size 0 and no proof."""
        assert prove_growth(TREE, None) == b"old 0\n\n" + TREE.note(7)


class TestWhatIsNotProved:
    """The log proves only what is on record."""

    def test_no_such_entry(self) -> None:
        with pytest.raises(BadInput, match="no such entry"):
            prove_entry(TREE, 7, TREE.note(7))

    def test_not_covered(self) -> None:
        with pytest.raises(BadInput, match="leaf_index"):
            prove_entry(TREE, 6, TREE.note(5))

    def test_empty(self) -> None:
        with pytest.raises(Gap, match="nothing to prove"):
            prove_growth(MemoryLog(0), None)

    def test_checkpoint_of_another_history(self) -> None:
        fork = MemoryLog(7, rewritten=2)
        with pytest.raises(EvidenceError, match="first 5 entries are not those"):
            prove_growth(TREE, fork.note(5))
        with pytest.raises(EvidenceError, match="pins 9 entries, the ledger holds 7"):
            prove_growth(TREE, MemoryLog(9).note(9))

    def test_record_that_is_not_the_committed_one(self) -> None:
        """A row changed behind the log's back is noticed before a proof of it leaves the house."""
        changed = MemoryLog(7)
        record = dict(changed.disclosures[4].record) | {"kind": "withdrawn"}
        changed.disclosures[4] = Disclosure(record, changed.disclosures[4].nonce)
        with pytest.raises(EvidenceError, match="root of tree_size 7"):
            prove_entry(changed, 4, changed.note(7))


def swap(content: bytes, first: int, second: int) -> bytes:
    lines = content.split(b"\n")
    lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


FORK = MemoryLog(7, rewritten=0)
OTHER_RECORD = prove_entry(TREE, 5, TREE.note(7))[1]

#: By the name of the damage: the proof, the record, and what the refusal says.
DAMAGED_PROOFS: dict[str, tuple[bytes, bytes, str]] = {
    "proof for another index": (PROOF.replace(b"index 4", b"index 5"), RECORD, "root of tree_size 7"),
    "record of another entry": (PROOF, OTHER_RECORD, "root of tree_size 7"),
    "swapped hashes": (swap(PROOF, 2, 3), RECORD, "root of tree_size 7"),
    "truncated proof": (
        b"\n".join(PROOF.split(b"\n")[:2] + PROOF.split(b"\n")[3:]),
        RECORD,
        "3 hashes, got 2",
    ),
    "doubled hash": (PROOF.replace(b"index 4\n", b"index 4\n" + b"A" * 43 + b"=\n"), RECORD, "got 4"),
    "index beyond the tree": (PROOF.replace(b"index 4", b"index 7"), RECORD, "leaf_index"),
    "leading zero": (PROOF.replace(b"index 4", b"index 04"), RECORD, "without leading zeros"),
    "negative index": (PROOF.replace(b"index 4", b"index -4"), RECORD, "without leading zeros"),
    "index of 64 bits": (PROOF.replace(b"index 4", b"index 9223372036854775808"), RECORD, "number"),
    "no index": (PROOF.replace(b"index 4\n", b""), RECORD, "a line with index"),
    "other version": (PROOF.replace(b"@v1", b"@v2"), RECORD, "expected the first line"),
    "empty extra line": (PROOF.replace(b"index", b"extra \nindex"), RECORD, "extra line"),
    "extra line after the index": (PROOF.replace(b"index 4\n", b"index 4\nextra AA==\n"), RECORD, "hash 1"),
    "short hash": (PROOF.replace(b"index 4\n", b"index 4\nAAAA\n"), RECORD, "hash 1 is not"),
    "no checkpoint": (PROOF.partition(b"\n\n")[0] + b"\n", RECORD, "a blank line and a checkpoint"),
    "unsigned checkpoint": (PROOF.rpartition(b"\n\n")[0] + b"\n", RECORD, "signature lines"),
    "carriage returns": (PROOF.replace(b"\n", b"\r\n"), RECORD, "blank line and a checkpoint"),
    "trailing garbage": (PROOF + b"garbage\n", RECORD, "signature line 2"),
    "leading blank line": (b"\n" + PROOF, RECORD, "expected the first line"),
    "swapped root": (PROOF.partition(b"\n\n")[0] + b"\n\n" + FORK.note(7), RECORD, "root of tree_size 7"),
    "old checkpoint": (PROOF.partition(b"\n\n")[0] + b"\n\n" + TREE.note(3), RECORD, "leaf_index"),
    "wrong origin": (
        PROOF.partition(b"\n\n")[0] + b"\n\n" + MemoryLog(7, signer=STRANGER).note(7),
        RECORD,
        "another log",
    ),
    "not UTF-8": (b"\xff" + PROOF, RECORD, "not UTF-8 at byte 0"),
    "too long": (PROOF + b"x" * 2_000_000, RECORD, "expected at most"),
}


@pytest.mark.parametrize("damage", DAMAGED_PROOFS)
def test_damaged_proof(damage: str) -> None:
    proof, record, message = DAMAGED_PROOFS[damage]
    with pytest.raises(EvidenceError, match=message) as caught:
        verify(proof, record)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("content", "check"), [(PROOF, verify), (RECORD, lambda record: verify(PROOF, record))]
)
def test_every_flipped_bit(content: bytes, check: Callable[[bytes], None]) -> None:
    """Not one bit of the proof or of the record can change."""
    for at in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[at] ^= 1 << bit
            with pytest.raises(EvidenceError):
                check(bytes(flipped))


def growth(request: bytes = GROWTH, old: bytes = TREE.note(3), trust: Trust = TRUST) -> None:
    verify_add_checkpoint(parse_add_checkpoint(request), TRUST.verified(old), trust)


#: By the name of the damage: the consistency file, the old checkpoint, and what the refusal says.
DAMAGED_GROWTH: dict[str, tuple[bytes, bytes, str]] = {
    "swapped hashes": (swap(GROWTH, 1, 2), TREE.note(3), "root of old_size 3"),
    "truncated": (b"\n".join(GROWTH.split(b"\n")[:1] + GROWTH.split(b"\n")[2:]), TREE.note(3), "hashes, got"),
    "another old size": (GROWTH.replace(b"old 3", b"old 2"), TREE.note(3), "expected old size 3, got 2"),
    "another old checkpoint": (GROWTH, TREE.note(4), "expected old size 4, got 3"),
    "old checkpoint of another history": (GROWTH, FORK.note(3), "root of old_size 3"),
    "new checkpoint of another history": (
        GROWTH.partition(b"\n\n")[0] + b"\n\n" + FORK.note(7),
        TREE.note(3),
        "root of new_size 7",
    ),
    "backwards": (GROWTH.partition(b"\n\n")[0] + b"\n\n" + TREE.note(2), TREE.note(3), "old_size"),
    "leading zero": (GROWTH.replace(b"old 3", b"old 03"), TREE.note(3), "without leading zeros"),
    "no old size": (GROWTH.replace(b"old 3\n", b""), TREE.note(3), "a line with old"),
    "64 hashes": (
        GROWTH.replace(b"old 3\n", b"old 3\n" + (b"A" * 43 + b"=\n") * 64),
        TREE.note(3),
        "at most 63",
    ),
    "trailing garbage": (GROWTH + b"garbage\n", TREE.note(3), "signature line 2"),
}


@pytest.mark.parametrize("damage", DAMAGED_GROWTH)
def test_damaged_growth(damage: str) -> None:
    growth()
    request, old, message = DAMAGED_GROWTH[damage]
    with pytest.raises(EvidenceError, match=message):
        growth(request, old)


def test_every_flipped_bit_of_growth() -> None:
    for at in range(len(GROWTH)):
        for bit in range(8):
            flipped = bytearray(GROWTH)
            flipped[at] ^= 1 << bit
            with pytest.raises(EvidenceError):
                growth(bytes(flipped))


DOCUMENT = json.loads(RECORD)


def written(nonce: object = DOCUMENT["nonce"], record: object = DOCUMENT["record"], **more: object) -> bytes:
    text = json.dumps(
        {"nonce": nonce, "record": record, **more}, indent=2, sort_keys=True, ensure_ascii=False
    )
    return (text + "\n").encode(errors="surrogatepass")


#: By the name of the damage: the file, and what the refusal says.
DAMAGED_RECORDS: dict[str, tuple[bytes, str]] = {
    "not JSON": (b"{", "not JSON"),
    "deep": (b"[" * 50_000, "not JSON|two names"),
    "a list": (b'["nonce", "record"]\n', "two names"),
    "another name": (written(more=1), "two names"),
    "a nonce of 15 bytes": (written(nonce="00" * 15), "nonce of 16 bytes"),
    "a nonce that is no text": (written(nonce=5), "nonce of 16 bytes"),
    "a nonce in capitals": (written(nonce=DOCUMENT["nonce"].upper()), "written anew"),
    "record is no table": (written(record=[]), "no table"),
    "a nested value": (written(record=DOCUMENT["record"] | {"a": []}), "neither text nor"),
    "null": (written(record=DOCUMENT["record"] | {"a": None}), "neither text nor"),
    "true": (written(record=DOCUMENT["record"] | {"a": True}), "neither text nor"),
    "a fraction": (written(record=DOCUMENT["record"] | {"a": 1.5}), "not JSON of strings"),
    "not a number": (written(record=DOCUMENT["record"] | {"a": float("nan")}), "not JSON of strings"),
    "a number of 65 bits": (written(record=DOCUMENT["record"] | {"a": 2**64}), "neither text nor"),
    "no time": (written(record={"a": "b"}), "recorded_at is no time"),
    "a time before 1970": (
        written(record=DOCUMENT["record"] | {"recorded_at": -1}),
        "recorded_at is no time",
    ),
    "a time as text": (written(record=DOCUMENT["record"] | {"recorded_at": "1"}), "recorded_at is no time"),
    "a lone surrogate": (RECORD.replace(b"given", b"\\ud800"), "neither text nor"),
    "other spaces": (RECORD.replace(b"\n  ", b"\n "), "written anew"),
    "carriage returns": (RECORD.replace(b"\n", b"\r\n"), "written anew"),
    "an escape that need not be": (RECORD.replace(b"given", b"\\u0067iven"), "written anew"),
    "a name twice": (RECORD.replace(b'"nonce"', b'"nonce": "",\n  "nonce"'), "written anew"),
    "not UTF-8": (b"\xff", "not UTF-8"),
    "too long": (b" " * 100_001, "at most 100000 bytes"),
}


@pytest.mark.parametrize("damage", DAMAGED_RECORDS)
def test_damaged_record(damage: str) -> None:
    """A disclosure is read only as it was written, and no message repeats a value of it."""
    content, message = DAMAGED_RECORDS[damage]
    with pytest.raises(EvidenceError, match=f"record: .*({message})") as caught:
        parse_disclosure(content)
    assert str(DOCUMENT["record"]["subject_key"]) not in caught.value.message


class TestDisclosure:
    """What opens a commitment, and keeps quiet about it."""

    def test_inverse(self) -> None:
        for disclosure in TREE.disclosures:
            assert parse_disclosure(format_disclosure(disclosure)) == disclosure

    def test_not_written(self) -> None:
        with pytest.raises(BadInput, match="cannot disclose a record: a value is neither"):
            format_disclosure(Disclosure({"recorded_at": 1, "a": None}, bytes(16)))  # type: ignore[dict-item]

    def test_not_shown(self) -> None:
        """Neither the record nor its nonce is in a repr, which logs and tracebacks would carry."""
        assert repr(TREE.disclosures[0]) == "Disclosure()"

    def test_the_nonce_counts(self) -> None:
        """Two records alike are two different entries: nobody can guess a record from its hash."""
        record = TREE.disclosures[0].record
        assert Disclosure(record, bytes(16)).entry() != TREE.disclosures[0].entry()


def test_only_the_logs_key_counts() -> None:
    """A proof whose checkpoint somebody else signed under the log's name is refused."""
    text = verify_note(TREE.note(7), [LOG.verifier])
    with pytest.raises(EvidenceError, match="expected a signature by"):
        verify(PROOF.partition(b"\n\n")[0] + b"\n\n" + sign_note(text, OTHER))
