"""Go's own transparency log packages read what we write: the auditor's program in docs/verify, on our output."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from consent.evidence.cosignatures import cosign
from consent.evidence.prove import prove_entry, prove_growth
from tests.consent.log_samples import LOG, OTHER, START, STRANGER, W1, MemoryLog

PROGRAM = Path(__file__).parents[2] / "docs" / "verify"
TREE = MemoryLog(300)
FORK = MemoryLog(300, rewritten=20)
NOTE = cosign(TREE.note(300), W1, START)
VKEY = LOG.verifier.format_vkey()


def go_sources() -> Path | None:
    """Where the toolchain keeps its copy of golang.org/x; None if there is no Go here."""
    if shutil.which("go") is None:
        return None
    root = subprocess.run(["go", "env", "GOROOT"], capture_output=True, text=True, check=False).stdout.strip()
    return Path(root) / "src/cmd/vendor/golang.org/x"


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built without a network from the sources that come with the toolchain."""
    sources = go_sources()
    if sources is None:
        pytest.skip("Go is not installed")
    if not (sources / "mod/sumdb/tlog").is_dir():
        pytest.skip("this Go does not carry golang.org/x/mod/sumdb in its sources")
    place = tmp_path_factory.mktemp("go")
    for name in ("main.go", "go.mod"):
        shutil.copy(PROGRAM / name, place / name)
    replaces = []
    for module, parts in (
        ("mod", ("sumdb/note", "sumdb/tlog", "internal/lazyregexp")),
        ("crypto", ("ed25519",)),
    ):
        for part in parts:
            if (sources / module / part).is_dir():
                shutil.copytree(sources / module / part, place / "x" / module / part)
        if (place / "x" / module).is_dir():
            (place / "x" / module / "go.mod").write_text(f"module golang.org/x/{module}\n\ngo 1.17\n")
            replaces += [
                f"-replace=golang.org/x/{module}=./x/{module}",
                f"-require=golang.org/x/{module}@v0.17.0",
            ]
    quiet = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GO111MODULE": "on", "GOCACHE": str(place / "cache")}
    for command in (["go", "mod", "edit", *replaces], ["go", "build", "-o", "verify", "."]):
        done = subprocess.run(
            command, cwd=place, env=os.environ | quiet, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return place / "verify"


@pytest.fixture
def given(tmp_path: Path) -> Path:
    proof, record = prove_entry(TREE, 41, NOTE)
    contents = {
        "new.checkpoint": NOTE,
        "old.checkpoint": TREE.note(100),
        "entry.tlog-proof": proof,
        "entry.record.json": record,
        "growth": prove_growth(TREE, TREE.note(100)),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def run(program: Path, place: Path, what: str, *names: str, vkey: str = VKEY) -> tuple[int, str]:
    done = subprocess.run(
        [program, vkey, what, *names], cwd=place, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


QUESTIONS = {
    "checkpoint": ("new.checkpoint",),
    "record": ("entry.tlog-proof", "entry.record.json"),
    "growth": ("old.checkpoint", "growth"),
}


def test_right_files_pass(program: Path, given: Path) -> None:
    """The cosigned checkpoint, the record's inclusion and the growth hold, and name the same root."""
    root = TREE.at(300).root.hex()
    answers = [run(program, given, what, *names) for what, names in QUESTIONS.items()]
    assert answers == [
        (0, f"checkpoint of 300 entries, root {root}\n"),
        (0, f"the record is entry 41 of 300, root {root}\n"),
        (0, f"the first 100 of 300 entries are unchanged, root {root}\n"),
    ]


def test_every_entry(program: Path, given: Path) -> None:
    """Records with every kind of text, at every place of a small tree."""
    small = MemoryLog(9)
    for index in range(9):
        proof, record = prove_entry(small, index, small.note(9))
        (given / "entry.tlog-proof").write_bytes(proof)
        (given / "entry.record.json").write_bytes(record)
        assert run(program, given, "record", *QUESTIONS["record"])[0] == 0


#: By the name of the damage: which file, what is in it instead, and what is asked.
DAMAGED = {
    "swapped roots": ("new.checkpoint", NOTE.replace(b"\n300\n", b"\n299\n"), "checkpoint"),
    "wrong key": ("new.checkpoint", TREE.note(300, OTHER), "checkpoint"),
    "wrong origin": ("new.checkpoint", MemoryLog(300, signer=STRANGER).note(300), "checkpoint"),
    "witness alone": (
        "new.checkpoint",
        b"\n".join(line for line in NOTE.split(b"\n") if LOG.name.encode() + b" " not in line),
        "checkpoint",
    ),
    "another history": ("entry.tlog-proof", prove_entry(FORK, 41, FORK.note(300))[0], "record"),
    "another index": (
        "entry.tlog-proof",
        prove_entry(TREE, 41, NOTE)[0].replace(b"index 41", b"index 42"),
        "record",
    ),
    "another record": ("entry.record.json", prove_entry(TREE, 42, NOTE)[1], "record"),
    "a changed word": (
        "entry.record.json",
        prove_entry(TREE, 41, NOTE)[1].replace(b"given", b"taken"),
        "record",
    ),
    "another nonce": (
        "entry.record.json",
        prove_entry(TREE, 41, NOTE)[1].replace(TREE.disclosures[41].nonce.hex().encode(), b"00" * 16),
        "record",
    ),
    "truncated": ("growth", prove_growth(TREE, TREE.note(100))[:150], "growth"),
    "old checkpoint of another history": ("old.checkpoint", FORK.note(100), "growth"),
    "another old checkpoint": ("old.checkpoint", TREE.note(99), "growth"),
    "rewritten log": ("growth", prove_growth(FORK, FORK.note(100)), "growth"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_files_fail(program: Path, given: Path, damage: str) -> None:
    name, content, what = DAMAGED[damage]
    (given / name).write_bytes(content)
    assert run(program, given, what, *QUESTIONS[what]) == (1, "")


def test_every_flipped_bit_of_a_proof(program: Path, given: Path) -> None:
    """One bit of every byte of the proof: Go refuses each, as we do."""
    whole = (given / "entry.tlog-proof").read_bytes().partition(b"\n\n")[0] + b"\n\n" + TREE.note(300)
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << at % 8
        (given / "entry.tlog-proof").write_bytes(bytes(flipped))
        assert run(program, given, "record", *QUESTIONS["record"])[0] == 1, at


def test_unknown_key_or_question(program: Path, given: Path) -> None:
    for what, vkey in (
        ("checkpoint", OTHER.verifier.format_vkey()),
        ("checkpoint", "nonsense"),
        ("more", VKEY),
    ):
        assert run(program, given, what, "new.checkpoint", vkey=vkey)[0] == 1
