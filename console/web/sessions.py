"""Who has signed in. Sessions live in the memory of the server: they end with it, and nothing of them lies anywhere.

A session is found by a keyed digest of its cookie, so that not even a copy of the memory's table lets anybody in
faster. People whom an officer looks at are known to her session under random handles: neither a customer number nor a
subject key is in an address, a browser's history or a log.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from consent.tokens import Role

#: How many people a session knows at a time; the one looked at longest ago is forgotten first.
_PEOPLE = 50
_SESSIONS = 1_000


@dataclass
class Session:
    """One sign-in.

    Attributes:
        caller: who, as the access log has it.
        shown_as: the name on the page.
        csrf: what every form of this session carries.
        people: handle -> subject key.
        is_good: asked at every request: whether what was signed in with is still good.
    """

    caller: str
    role: Role
    shown_as: str
    began_at: datetime
    seen_at: datetime
    is_good: Callable[[], bool]
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    people: OrderedDict[str, str] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def remember(self, subject_key: str) -> str:
        """The handle of a person in this session."""
        with self.lock:
            known = next((handle for handle, key in self.people.items() if key == subject_key), None)
            handle = known or secrets.token_urlsafe(16)
            self.people[handle] = subject_key
            self.people.move_to_end(handle)
            while len(self.people) > _PEOPLE:
                self.people.popitem(last=False)
        return handle


class Sessions:
    """All sign-ins of this server. Safe to use from several threads."""

    def __init__(self, *, idle: timedelta, longest: timedelta, clock: Callable[[], datetime]) -> None:
        self._idle = idle
        self._longest = longest
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def begin(
        self,
        caller: str,
        role: Role,
        *,
        shown_as: str,
        is_good: Callable[[], bool] = lambda: True,
    ) -> str:
        """Sign somebody in; the secret for their cookie."""
        secret, now = secrets.token_urlsafe(32), self._clock()
        session = Session(caller, role, shown_as, now, now, is_good)
        with self._lock:
            self._sessions[_digest(secret)] = session
            while len(self._sessions) > _SESSIONS:
                self._sessions.popitem(last=False)
        return secret

    def find(self, secret: str | None) -> Session | None:
        """The session of a cookie, if it is still good."""
        if not secret:
            return None
        digest, now = _digest(secret), self._clock()
        with self._lock:
            session = self._sessions.get(digest)
            if session is None:
                return None
            if now - session.seen_at >= self._idle or now - session.began_at >= self._longest:
                del self._sessions[digest]
                return None
            session.seen_at = now
        if not session.is_good():
            self.end(secret)
            return None
        return session

    def end(self, secret: str | None) -> None:
        """Sign somebody out."""
        with self._lock:
            self._sessions.pop(_digest(secret or ""), None)


class OneTimeLinks:
    """Secrets that sign somebody in once, and not for long."""

    def __init__(self, *, life: timedelta, clock: Callable[[], datetime]) -> None:
        self._life = life
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[bytes, datetime] = {}

    def make(self) -> str:
        """A new one."""
        secret = secrets.token_urlsafe(32)
        with self._lock:
            self._until[_digest(secret)] = self._clock() + self._life
        return secret

    def use(self, secret: str) -> bool:
        """Whether it was good; it is not any more."""
        with self._lock:
            until = self._until.pop(_digest(secret), None)
        return until is not None and self._clock() < until


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
