"""What is special about a ledger in a SQLite file; all else is in ``tests/behaviours``."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from consent.errors import AssentError, Conflict, Unavailable
from consent.evidence.notes import Signer
from consent.ledger import Ledger, new_event_id
from tests.consent.consent_samples import ANNA, NOW, Clock, given, withdrawn


class TestOpening:
    def test_a_ledger_is_created_once(self, tmp_path: Path, signer: Signer) -> None:
        """What exists is never overwritten."""
        Ledger.create(tmp_path / "l.db", signer).close()
        with pytest.raises(Conflict):
            Ledger.create(tmp_path / "l.db", signer)

    def test_a_missing_ledger_is_unavailable(self, tmp_path: Path, signer: Signer) -> None:
        """Nothing is decided from an empty file made by mistake."""
        with pytest.raises(Unavailable):
            Ledger.open(tmp_path / "l.db", signer)

    @pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be looked at " * 9])
    def test_a_file_that_is_no_ledger_decides_nothing(
        self, tmp_path: Path, signer: Signer, content: bytes
    ) -> None:
        """Reading and writing fail with an error of ours."""
        (tmp_path / "l.db").write_bytes(content)
        ledger = Ledger.open(tmp_path / "l.db", signer)
        for attempt in (
            ledger.size,
            lambda: ledger.facts(ANNA),
            lambda: ledger.append([given()]),
            ledger.audit,
        ):
            with pytest.raises(AssentError):
                attempt()

    @pytest.mark.parametrize("name", ["100% sure?", "a&b=c#d", "同意 记录", "it's"])
    def test_any_folder_name_will_do(self, tmp_path: Path, signer: Signer, name: str) -> None:
        """A path is a path, whatever signs it holds."""
        (tmp_path / name).mkdir()
        ledger = Ledger.create(tmp_path / name / "ledger.db", signer)
        ledger.append([given(at=NOW, origin="imported")])
        ledger.close()
        assert [p.name for p in (tmp_path / name).iterdir()] == ["ledger.db"]
        assert Ledger.open(tmp_path / name / "ledger.db", signer).size() == 1

    def test_only_its_owner_can_read_it(self, tmp_path: Path, signer: Signer) -> None:
        """The file is private from the first moment on."""
        Ledger.create(tmp_path / "l.db", signer)
        assert {p.stat().st_mode & 0o077 for p in tmp_path.glob("l.db*")} == {0}

    def test_event_ids_are_fresh_and_ordered_in_time(self) -> None:
        """UUIDv7: version and variant bits in place, never twice."""
        ids = [new_event_id() for _ in range(1000)]
        assert len(set(ids)) == 1000
        assert {i[12] for i in ids} == {"7"}
        assert {i[16] for i in ids} <= set("89ab")
        assert [i[:12] for i in ids] == sorted(i[:12] for i in ids)


@pytest.mark.parametrize("first", [lambda _: None, Ledger.audit, Ledger.size])
def test_a_ledger_file_that_is_replaced_is_read_anew(
    tmp_path: Path, signer: Signer, clock: Clock, first: Callable[[Ledger], object]
) -> None:
    """A reader does not go on with a file that another has taken the place of, whatever is asked first."""
    reader = Ledger.create(tmp_path / "ledger.db", signer, clock)
    reader.append([given()])
    assert reader.decide(ANNA, "spending", "credit_scoring").allowed
    other = Ledger.create(tmp_path / "other.db", signer, clock)
    other.append([given(), withdrawn()])
    other.close()
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "other.db").replace(tmp_path / "ledger.db")
    first(reader)
    assert not reader.decide(ANNA, "spending", "credit_scoring").allowed


def test_nothing_is_left_beside_a_file_that_was_closed(tmp_path: Path, signer: Signer, clock: Clock) -> None:
    """After questions too: what is copied then is the whole ledger."""
    ledger = Ledger.create(tmp_path / "ledger.db", signer, clock)
    ledger.append([given()])
    assert ledger.decide(ANNA, "spending", "credit_scoring").allowed
    ledger.close()
    assert [p.name for p in tmp_path.iterdir()] == ["ledger.db"]


def test_a_thread_that_asked_and_still_runs_leaves_nothing_either(
    tmp_path: Path, signer: Signer, clock: Clock
) -> None:
    """A pool's threads outlive their work; each had a connection of its own."""
    ledger = Ledger.create(tmp_path / "ledger.db", signer, clock)
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(ledger.decide, ANNA, "spending", "credit_scoring").result().allowed
        ledger.close()
        assert [p.name for p in tmp_path.iterdir()] == ["ledger.db"]


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from consent.errors import Unavailable
from consent.ledger import Ledger
from consent.evidence.notes import Signer
from tests.consent.consent_samples import NOW, given

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
signer = Signer("assent/test", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
ledger = Ledger.open(Path(sys.argv[1]), signer, lambda: NOW)
recorded = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
try:
    for _ in range(1000):
        recorded += len(ledger.append([given(f"{recorded + i:032x}") for i in range(50)]))
except Unavailable:
    assert ledger.size() == recorded > 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ledger.append([given("f" * 32)])
    assert ledger.size() == recorded + 1
    assert ledger.audit().findings == ()
    print("went on")
"""


def test_a_full_disk_loses_nothing_and_damages_nothing(tmp_path: Path, signer: Signer, clock: Clock) -> None:
    """It is told as unavailable; what was acknowledged is there, and with room again it goes on."""
    Ledger.create(tmp_path / "ledger.db", signer, clock).close()
    ended = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, tmp_path / "ledger.db"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout == "went on\n", ended.stderr[-500:]
