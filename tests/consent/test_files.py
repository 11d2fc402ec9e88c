"""Files that are there whole or not at all, and locks that end with their process."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from consent.errors import Conflict
from consent.files import (
    exclusive,
    file_hash,
    move_into_place,
    partial_path,
    remove_partials,
    write_atomically,
)


def test_a_file_is_written_whole_and_private(tmp_path: Path) -> None:
    """New content replaces old in one step, leaves nothing beside it, and is for its owner only."""
    path = tmp_path / "m.json"
    for content in (b"one", b"", b"three" * 100_000):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["m.json"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_interrupted_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens before the last step, a reader sees what was there; the leftover can be cleared away."""
    path = tmp_path / "deep" / "m.json"
    path.parent.mkdir()
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="power cut"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert partial_path(path).exists()
    remove_partials(tmp_path)
    assert [p.name for p in path.parent.iterdir()] == ["m.json"]


def test_a_prepared_file_is_moved_into_place(tmp_path: Path) -> None:
    """For content that another library writes."""
    prepared = partial_path(tmp_path / "t.parquet")
    prepared.write_bytes(b"rows")
    move_into_place(prepared, tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").read_bytes() == b"rows"
    assert (tmp_path / "t.parquet").stat().st_mode & 0o777 == 0o600
    assert not prepared.exists()


@pytest.mark.parametrize("content", [b"", b"x", b"y" * 3_000_000])
def test_a_files_hash_is_sha_256(tmp_path: Path, content: bytes) -> None:
    """Of all its bytes, as hex."""
    (tmp_path / "f").write_bytes(content)
    assert file_hash(tmp_path / "f") == hashlib.sha256(content).hexdigest()


def test_only_one_may_hold_a_lock(tmp_path: Path) -> None:
    """A second holder is refused and told what is running; afterwards the lock is free, also after an error."""
    with (
        exclusive(tmp_path / "lock", "a publish"),
        pytest.raises(Conflict, match="a publish"),
        exclusive(tmp_path / "lock", "a publish"),
    ):
        raise AssertionError("two hold it")
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "lock", "a publish"):
        raise ZeroDivisionError
    with exclusive(tmp_path / "lock", "a publish"):
        pass


def test_a_killed_process_lets_go_of_its_lock(tmp_path: Path) -> None:
    """No leftover keeps the next one out."""
    script = (
        "import sys, time; from pathlib import Path; from consent.files import exclusive\n"
        "with exclusive(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "lock")],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(Conflict), exclusive(tmp_path / "lock", "a run"):
        raise AssertionError("two hold it")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with exclusive(tmp_path / "lock", "a run"):
        pass
