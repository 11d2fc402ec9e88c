"""Who is in a training set, written down so that only a person's own key can find them.

Each person of a receipt is one token: a keyed hash of the list's salt under a key of that person's alone. With the
key one asks "was this person in it?" in microseconds; without it a token is 16 random bytes. When the person is
erased and the key destroyed, the list and its receipt stay as they are, and say nothing about them any more, in no
copy.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from consent.errors import EvidenceError, Unavailable
from consent.files import write_atomically
from consent.home import Home

#: What the people's keys for this are kept under in the key table.
USE = "receipts"
_BYTES = 16
_SUFFIX = ".members"
#: People whose keys are in memory at a time.
_AT_A_TIME = 50_000


def write_members(home: Home, subject_keys: Iterable[str]) -> str:
    """Write down the people of a training set, before its receipt.

    Returns:
        SHA-256 of the list, hex; the list's name.
    """
    salt, subjects = os.urandom(_BYTES), sorted(subject_keys)
    tokens = bytearray()
    for low in range(0, len(subjects), _AT_A_TIME):
        some = subjects[low : low + _AT_A_TIME]
        keys = home.data_keys.find_or_create(USE, some)
        tokens += b"".join([_token(keys[subject].key, salt) for subject in some])
    content = salt + np.sort(np.frombuffer(tokens, f"S{_BYTES}")).tobytes()
    name = hashlib.sha256(content).hexdigest()
    try:
        write_atomically(_path(home, name), content)
    except OSError:
        raise Unavailable(
            "the receipt cannot be written, so no values are handed out",
            remedy="Make room in <home>/receipts.",
        ) from None
    return name


def count_members(home: Home, name: str) -> int:
    """How many people are in a list.

    Raises:
        Unavailable: it is not there.
        EvidenceError: it is not the one its name says.
    """
    try:
        content = _path(home, name).read_bytes()
    except OSError:
        raise Unavailable("the list of a receipt's people is missing", remedy="Restore it.") from None
    if hashlib.sha256(content).hexdigest() != name:
        raise EvidenceError("the list of a receipt's people was changed", remedy="Restore it from a copy.")
    return len(content) // _BYTES - 1


def lists_with(home: Home, subject_keys: Sequence[str], names: Sequence[str]) -> dict[str, set[str]]:
    """For each person those of these lists that they are in; who has no key is in none.

    Raises:
        Unavailable: a list is missing.
    """
    keys = home.data_keys.find(USE, subject_keys)
    found: dict[str, set[str]] = {subject: set() for subject in keys}
    for name in dict.fromkeys(names) if keys else ():
        try:
            with _path(home, name).open("rb") as file:
                salt, size = file.read(_BYTES), os.fstat(file.fileno()).st_size
                tokens = _Tokens(file.fileno(), size // _BYTES - 1)
                for subject, key in keys.items():
                    if tokens.hold(_token(key.key, salt)):
                        found[subject].add(name)
        except OSError:
            raise Unavailable("the list of a receipt's people is missing", remedy="Restore it.") from None
    return found


class _Tokens(Sequence[bytes]):
    """A list's tokens, read as they are looked at."""

    def __init__(self, descriptor: int, count: int) -> None:
        self._descriptor = descriptor
        self._count = count

    def __len__(self) -> int:
        return self._count

    def hold(self, wanted: bytes) -> bool:
        """Whether a token is among them; they are in order."""
        place = bisect_left(self, wanted)
        return place < len(self) and self[place] == wanted

    def __getitem__(self, index: int) -> bytes:  # type: ignore[override]  # no slices
        return os.pread(self._descriptor, _BYTES, (index + 1) * _BYTES)


def _token(key: bytes, salt: bytes) -> bytes:
    return hashlib.blake2b(salt, key=key, digest_size=_BYTES, person=b"assent-members").digest()


def _path(home: Home, name: str) -> Path:
    return home.path("receipts", name + _SUFFIX)
