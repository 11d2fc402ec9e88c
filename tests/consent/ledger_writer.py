"""A process that forks writers of one ledger on command, so that a test can kill them at any moment.

Usage: ``python -m tests.consent.ledger_writer LEDGER``. Each line ``start N`` on standard input forks a writer of N
batches (one that dies with its batches, or earlier). Standard output tells ``pid P``, then ``ack INDEX ID ...`` after
each append that came back, and ``dead P``.
"""

import os
import random
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consent.clock import now_utc
from consent.ledger import Ledger, new_event_id
from consent.notes import Signer
from tests.consent.consent_samples import given


def write(path: Path, batches: int) -> None:
    signer = Signer("assent/test", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    ledger, chance = Ledger.open(path, signer), random.Random()
    for _ in range(batches):
        # Without a time of their own the grants take effect now; a pipe takes up to 4,096 bytes in one piece.
        batch = [
            given(new_event_id(), at=now_utc(), event_id=new_event_id()) for _ in range(chance.randint(1, 40))
        ]
        entries = ledger.append(batch)
        ids = " ".join(r.event.event_id for r in entries)
        os.write(1, f"ack {entries[0].leaf_index} {ids}\n".encode())


def main() -> None:
    running: set[int] = set()
    for line in sys.stdin:
        command, number = line.split()
        if command == "start":
            pid = os.fork()
            if pid == 0:
                write(Path(sys.argv[1]), int(number))
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
