"""A witness: somebody else's machine that remembers how far a log was and cosigns only what continues it.

It holds a key of its own and, for each log it was told to watch, the last checkpoint it cosigned. A checkpoint that
does not continue that one is refused; two checkpoints of one size with different roots are kept as evidence.

==================  ==========================================================================================
witness.key         the private key, mode 0600, in a directory of mode 0700
witness.vkey        the public key, to hand out
logs.json           by origin: the log's key, its handovers, and the note cosigned last
fork-*.txt          signed notes that contradict each other; anybody can check them with the log's key
==================  ==========================================================================================

Source: C2SP tlog-witness v1.0.0, "add-checkpoint"; the statuses in the comments are its own.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consent.clock import CLOCK_SKEW
from consent.errors import ConfigError, Conflict, EvidenceError, Gap, Unavailable
from consent.evidence.cosignatures import WitnessSigner, WitnessVerifier, cosign
from consent.evidence.handover import LogKeys, parse_handover
from consent.evidence.merkle import EMPTY_ROOT, verify_consistency
from consent.evidence.notes import Checkpoint, Verifier, parse_checkpoint, parse_note
from consent.evidence.proofs import AddCheckpoint, parse_add_checkpoint
from consent.evidence.strict_text import malformed
from consent.evidence.trust import Pinned, Trust
from consent.files import exclusive, write_atomically
from consent.sealing import KEY_BYTES, new_key

_KEY, _VKEY, _LOGS, _LOCK = "witness.key", "witness.vkey", "logs.json", "lock"


@dataclass(frozen=True)
class _Watched:
    """One log: the key it was first trusted with, its handover notes, and the note cosigned last."""

    vkey: str
    handovers: tuple[str, ...] = ()
    cosigned: str | None = None

    def keys(self) -> LogKeys:
        return LogKeys.follow(Verifier.parse_vkey(self.vkey), [note.encode() for note in self.handovers])


class Witness:
    """A witness and its state directory. Make one with `Witness.create`; safe to run from several processes."""

    def __init__(self, state: Path, signer: WitnessSigner) -> None:
        self._state = state
        self._signer = signer

    @classmethod
    def create(cls, state: Path, name: str) -> Witness:
        """A new witness with a new key.

        Args:
            state: directory to make.
            name: what it cosigns under, like ``auditor.example/w1``.

        Raises:
            Conflict: there is something already.
            BadInput: the name cannot be used.
        """
        if state.exists() and (not state.is_dir() or any(state.iterdir())):
            raise Conflict("a witness, or something else, is here", remedy="Name another --state directory.")
        key = new_key()
        signer = WitnessSigner(name, Ed25519PrivateKey.from_private_bytes(key))
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.chmod(0o700)
        write_atomically(state / _KEY, key)
        write_atomically(state / _LOGS, b"{}\n")
        write_atomically(state / _VKEY, signer.verifier.format_vkey().encode() + b"\n")
        return cls(state, signer)

    @classmethod
    def open(cls, state: Path) -> Witness:
        """The witness whose state is here.

        Raises:
            Unavailable: there is none, or a part of it is missing.
            ConfigError: others on this machine could read its key.
            EvidenceError: the key and its public half do not belong together.
        """
        for file in (state, state / _KEY):
            if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
                raise ConfigError(
                    "the witness' key can be read by other users of this machine",
                    remedy="Run chmod -R go-rwx on the state directory.",
                )
        key, vkey = _read(state / _KEY), _read(state / _VKEY).decode(errors="replace").strip()
        if len(key) != KEY_BYTES:
            raise malformed("the witness' key is damaged")
        known = WitnessVerifier.parse_vkey(vkey)
        signer = WitnessSigner(known.name, Ed25519PrivateKey.from_private_bytes(key))
        if signer.verifier != known:
            raise malformed("the witness' key and its public half do not belong together")
        return cls(state, signer)

    @property
    def vkey(self) -> str:
        """The public key as one line of text to hand out."""
        return self._signer.verifier.format_vkey()

    # ------------------------------------------------------------------ which logs

    def trust(self, vkey: str) -> None:
        """Watch the log of this key from now on; once more is no change.

        Raises:
            EvidenceError: it is no verifier key of a log.
            Conflict: the log is watched under another key, which only a handover may replace.
        """
        verifier = Verifier.parse_vkey(vkey)
        with self._lock():
            logs = self._load()
            watched = logs.setdefault(verifier.name, _Watched(vkey))
            if verifier not in watched.keys().keys:
                raise Conflict(
                    "this log is watched under another key",
                    remedy="Ask the log for its key handover. Without one it may be another log of that name.",
                )
            self._save(logs)

    def follow(self, handover: bytes) -> None:
        """Accept a log's new key from a handover note that the key trusted so far has signed; once.

        Raises:
            Gap: the log is not watched.
            EvidenceError: the note does not follow from the key, or contradicts what was cosigned.
        """
        text, _ = parse_note(handover)
        with self._lock():
            logs = self._load()
            origin = parse_handover(text).at.origin
            watched = self._watched(logs, origin)
            if handover.decode() in watched.handovers:
                return
            longer = replace(watched, handovers=(*watched.handovers, handover.decode()))
            keys = longer.keys()
            if longer.cosigned is not None:
                keys.verified(longer.cosigned.encode())
            self._save({**logs, origin: longer})

    # ------------------------------------------------------------------ cosigning

    def cosign(self, request: bytes, now: datetime) -> bytes:
        """The request's checkpoint with this witness' cosignature; remembered on disk before it is returned.

        Args:
            request: an add-checkpoint body.
            now: the witness' clock.

        Raises:
            Gap: the log is not watched.
            Conflict: the request does not start from the size this witness holds, or the clock went back.
            EvidenceError: no trusted signature, or not a continuation of what was cosigned; a fork is kept.

        Source: C2SP tlog-witness: "MUST persist the new checkpoint before responding", atomically.
        """
        asked = parse_add_checkpoint(request)
        with self._lock():
            logs = self._load()
            origin = parse_checkpoint(parse_note(asked.checkpoint)[0]).origin
            watched = self._watched(logs, origin)  # 404
            keys = watched.keys()
            offered, _ = keys.verified(asked.checkpoint)  # 403
            held = self._held(watched, keys)
            self._require_no_fork(watched, held, offered, asked.checkpoint)
            _require_continuation(asked, held, offered)
            if held and held.cosignatures[0].cosigned_at > now + CLOCK_SKEW:
                raise Conflict(
                    "the clock is behind the time this witness cosigned last",
                    remedy="Set the machine's clock right.",
                )
            note = cosign(asked.checkpoint, self._signer, now)
            self._save({**logs, origin: replace(watched, cosigned=note.decode())})
        return note

    def cosigned_before(self, request: bytes) -> bytes | None:
        """The note released for this very checkpoint, if it was the last: a lost answer is given again.

        Raises:
            EvidenceError: the request is malformed.
        """
        asked = parse_add_checkpoint(request)
        text, _ = parse_note(asked.checkpoint)
        watched = self._load().get(text.split("\n")[0])
        last = watched.cosigned.encode() if watched and watched.cosigned else None
        return last if last and parse_note(last)[0] == text else None

    def _held(self, watched: _Watched, keys: LogKeys) -> Pinned | None:
        """What was cosigned last, verified against the witness' own key: nobody else wrote it."""
        if watched.cosigned is None:
            return None
        return Trust(keys, (self._signer.verifier,), 1).verified(watched.cosigned.encode())

    def _require_no_fork(
        self, watched: _Watched, held: Pinned | None, offered: Checkpoint, note: bytes
    ) -> None:
        size = offered.tree_size
        if not held or held.checkpoint.tree_size != size or held.checkpoint.root == offered.root:
            return
        for root, found in ((held.checkpoint.root, watched.cosigned), (offered.root, note.decode())):
            write_atomically(self._state / f"fork-{size}-{root.hex()[:16]}.txt", str(found).encode())
        raise EvidenceError(
            f"fork: the log signed two trees of {size} entries; both notes are kept as fork-{size}-*.txt",
            remedy="Tell whoever relies on the log. The two notes prove it to anybody who has the log's key.",
        )

    # ------------------------------------------------------------------ state

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Only one process at a time may decide; another is told to come back, which is no refusal."""
        with ExitStack() as stack:
            try:
                stack.enter_context(exclusive(self._state / _LOCK, "this witness"))
            except Conflict as busy:
                raise Unavailable(busy.message, remedy=busy.remedy) from None
            yield

    def _watched(self, logs: dict[str, _Watched], origin: str) -> _Watched:
        if origin not in logs:
            raise Gap(
                "the checkpoint is of a log that this witness does not watch",
                remedy="If it should, run `assent log witness trust` with the log's verifier key.",
            )
        return logs[origin]

    def _load(self) -> dict[str, _Watched]:
        try:
            document = json.loads(_read(self._state / _LOGS))
            return {
                origin: _Watched(log["vkey"], tuple(log["handovers"]), log["cosigned"])
                for origin, log in document.items()
            }
        except (ValueError, TypeError, KeyError, AttributeError):
            raise malformed(f"{_LOGS} of the witness is damaged") from None

    def _save(self, logs: dict[str, _Watched]) -> None:
        document = {
            origin: {"vkey": log.vkey, "handovers": log.handovers, "cosigned": log.cosigned}
            for origin, log in logs.items()
        }
        content = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
        write_atomically(self._state / _LOGS, content.encode() + b"\n")


def _require_continuation(asked: AddCheckpoint, held: Pinned | None, offered: Checkpoint) -> None:
    """The rules of add-checkpoint, in its order."""
    size = held.checkpoint.tree_size if held else 0
    if asked.old_size > offered.tree_size:  # 400
        raise malformed(f"the request goes from {asked.old_size} back to {offered.tree_size} entries")
    if asked.old_size != size:  # 409
        raise Conflict(
            f"this witness holds {size} entries of the log, the request starts from {asked.old_size}",
            remedy="Make the request anew with --since the checkpoint that this witness cosigned last.",
        )
    if offered.tree_size == 0 and offered.root != EMPTY_ROOT:  # 422
        raise malformed("checkpoint 0: the root is not that of the empty tree")
    if held is None or size == 0:
        if asked.proof:  # 422
            raise malformed(f"expected no proof from the empty tree, got {len(asked.proof)} hashes")
        return
    verify_consistency(size, held.checkpoint.root, offered.tree_size, offered.root, asked.proof)  # 422


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise Unavailable(
            f"{path.name} of the witness cannot be read",
            remedy="Check --state, or run `assent log witness init`.",
        ) from None
