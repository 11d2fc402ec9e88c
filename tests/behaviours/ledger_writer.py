"""A process that forks writers of one ledger on command, so that a test can kill them at any moment.

Usage: ``python -m tests.behaviours.ledger_writer DATABASE ANCHOR``. Each line ``start N`` on standard input forks a
writer of N batches (one that dies with its batches, or earlier). Standard output tells ``pid P``; of each batch
``try ID ...`` before the append, and ``ack INDEX ID ...`` after it came back; and ``dead P``. A writer whose database
cannot be reached sends its batch again.
"""

import os
import random
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consent.errors import Unavailable
from consent.evidence.notes import Signer
from consent.ledger import Ledger, new_event_id
from consent.nouns import Event, Recorded
from tests.consent.consent_samples import NOW, given


def statement(event_id: str) -> Event:
    """What a writer says under an id: always the same."""
    return given(event_id, at=NOW, origin="imported", event_id=event_id, grant_id=event_id)


def open_ledger(database: str, anchor: str) -> Ledger:
    signer = Signer("assent/test", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    place = database if database.startswith("postgresql") else Path(database)
    return Ledger.open(place, signer, anchor=Path(anchor))


def append(ledger: Ledger, batch: list[Event]) -> list[Recorded]:
    for _ in range(600):
        try:
            return ledger.append(batch)
        except Unavailable:
            time.sleep(0.05)
    raise SystemExit("the database stays away")


def write(database: str, anchor: str, batches: int) -> None:
    ledger, chance = open_ledger(database, anchor), random.Random()
    for _ in range(batches):
        # A pipe takes up to 4,096 bytes in one piece.
        batch = [statement(new_event_id()) for _ in range(chance.randint(1, 40))]
        ids = " ".join(event.event_id for event in batch)
        os.write(1, f"try {ids}\n".encode())
        entries = append(ledger, batch)
        os.write(1, f"ack {entries[0].leaf_index} {ids}\n".encode())


def main() -> None:
    running: set[int] = set()
    for line in sys.stdin:
        command, number = line.split()
        if command == "start":
            pid = os.fork()
            if pid == 0:
                try:
                    write(sys.argv[1], sys.argv[2], int(number))
                except BaseException as error:
                    os.write(1, f"failed {type(error).__name__}: {error}\n".encode())
                finally:
                    os._exit(0)
            running.add(pid)
            os.write(1, f"pid {pid}\n".encode())
        else:
            for _ in range(int(number)):
                pid, _status = os.wait()
                running.discard(pid)
                os.write(1, f"dead {pid}\n".encode())


if __name__ == "__main__":
    main()
