"""Who people are: by their token, or by the cookie of a browser that signed in with one."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cloud.api.auth import Person, Role
from cloud.store.access import Access, fingerprint
from contract.errors import TransientError

# What was looked up is good for so long: whoever is shut out keeps a page's powers no longer. A page asks by each act and timer.
FRESH_S = 1.0
# Without the database, who scrapes /metrics is known for so long: it is there to say that the database is away. Whoever it shut
# out in the middle of that would take the alert for over, or the server for dead, and start it anew (runbook database-gone).
LATELY_S = 86_400.0
_NOTE_USE_EVERY_S = 60.0
_MOST_REMEMBERED = 4096
_MOST_SECRET_CHARS = 256

_log = logging.getLogger(__name__)


class FileToken:
    """The token in a file that `init` made, whoever holds it being `person`. Read anew whenever the file is another."""

    def __init__(self, person: Person, file: Path) -> None:
        self.person, self._file = person, file
        self._stamp: tuple[int, int, int] | None = None
        self._fingerprint = ""

    def fingerprint(self) -> str:
        """Return the hash of the token that is in the file now, "" for none: then nobody holds it."""
        try:
            found = self._file.stat()
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
            if stamp != self._stamp:
                text = self._file.read_text().strip()
                self._stamp, self._fingerprint = stamp, fingerprint(text) if text else ""
        except (OSError, UnicodeDecodeError) as error:
            if self._stamp is not None:
                _log.warning(
                    "the token file %s cannot be read, so %s is let in no more: %s", self._file, self.person.name, error
                )
            self._stamp, self._fingerprint = None, ""
        return self._fingerprint


@dataclass(frozen=True, slots=True)
class _Known:
    person: Person
    looked_at: float


class People:
    """Knows people by token and by cookie. Thread-safe.

    Args:
        files: the tokens that lie in files.
        new_secret: makes what nobody can guess: 256 random bits as text.
        session_s: how long somebody stays signed in.
        now: Unix seconds, and `monotonic` seconds that never go back.
        provider: names the identity provider and the rules by which it gives roles, "" for none: a session that it vouched for ends
            when they are others.
        why_lost: says at once why the database cannot be used just now, "" while it can.
    """

    def __init__(
        self,
        access: Access,
        files: tuple[FileToken, ...],
        *,
        new_secret: Callable[[], str],
        session_s: float,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        provider: str = "",
        why_lost: Callable[[], str] = str,
    ) -> None:
        self._access, self._files, self._why_lost = access, files, why_lost
        self._new_secret, self._session_s = new_secret, session_s
        self._now, self._monotonic, self._provider = now, monotonic, provider
        self._lock = threading.Lock()
        # Only who was found is remembered: what strangers send takes no memory. `_noted`: when a token's use was last written.
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._noted: dict[int, float] = {}
        self._changes = 0

    def by_token(self, token: str) -> Person | None:
        """Return whose token it is, None for nobody's.

        Raises:
            TransientError: the database is not reached.
        """
        return self._remembered("token", token, self._find_token)

    def by_token_lately(self, token: str) -> Person | None:
        """Return whose token it is, or was `LATELY_S` ago where the database cannot be asked now; nobody can be shut out meanwhile.

        Raises:
            TransientError: the database is not reached, and nobody has shown this token lately.
        """
        with self._lock:
            known = self._known.get(("token", fingerprint(token)))
        lately = known is not None and self._monotonic() - known.looked_at < LATELY_S
        # One that is cut off answers nothing for minutes, and who scrapes waits for seconds.
        if known is not None and lately and self._why_lost():
            return known.person
        try:
            return self.by_token(token)
        except TransientError:
            if known is None or not lately:
                raise
            return known.person

    def remembered(self, kind: str, secret: str) -> Person | None:
        """Return whose "token" or "cookie" it is, without asking the database: of who was known `LATELY_S` ago, None for anybody
        else."""
        if not 0 < len(secret) <= _MOST_SECRET_CHARS:
            return None
        digest = fingerprint(secret)
        if kind == "token" and (file := self._file_of(digest)) is not None:
            return file.person
        with self._lock:
            known = self._known.get((kind, digest))
        return known.person if known is not None and self._monotonic() - known.looked_at < LATELY_S else None

    def by_cookie(self, cookie: str) -> Person | None:
        """Return whose session it is, None for nobody's.

        Raises:
            TransientError: the database is not reached.
        """
        return self._remembered("cookie", cookie, self._find_session)

    def sign_in(self, token: str) -> tuple[Person, str] | None:
        """Begin a session and return who it is and the cookie's value; None where the token is nobody's."""
        if not 0 < len(token) <= _MOST_SECRET_CHARS:
            return None
        if (file := self._file_of(fingerprint(token))) is not None:
            # The session ends when the file is replaced: its origin says by which token it began.
            return self._begin(file.person, None, _file_origin(file))
        found = self._access.token(token, self._now())
        if found is None or (person := _person(found.person, found.role)) is None:
            return None
        return self._begin(person, found.id, "token")

    def sign_in_vouched(self, person: Person) -> tuple[Person, str]:
        """Begin the session of a person for whom the identity provider vouched."""
        return self._begin(person, None, self._provider_origin())

    def sign_out(self, cookie: str) -> None:
        """End the session of a cookie."""
        self._access.sign_out(cookie[:_MOST_SECRET_CHARS], self._now())
        self.forget()

    def add_token(self, person: Person, made_by: str, expires_at: float | None) -> tuple[int, str]:
        """Make a token and return its number and the token, which nobody can be told again."""
        token = f"plt_{self._new_secret()}"
        number = self._access.add_token(token, person.name, person.role.value, made_by, self._now(), expires_at)
        return number, token

    def revoke(self, token: int, by: str) -> None:
        """End a token and what was begun with it, at once."""
        self._access.revoke(token, by, self._now())
        self.forget()

    def end_session(self, session: str, by: str) -> None:
        """End somebody's session, at once."""
        self._access.end_session(session, by, self._now())
        self.forget()

    def forget(self) -> None:
        """Look everybody up anew."""
        with self._lock:
            self._changes += 1
            self._known.clear()

    def _remembered(self, kind: str, secret: str, find: Callable[[str], Person | None]) -> Person | None:
        if not 0 < len(secret) <= _MOST_SECRET_CHARS:
            return None
        key, at = (kind, fingerprint(secret)), self._monotonic()
        with self._lock:
            known, changes = self._known.get(key), self._changes
        if known is not None and at - known.looked_at < FRESH_S:
            return known.person
        person = find(secret)
        with self._lock:
            self._known.pop(key, None)
            # What was looked up before somebody was shut out may be wrong by now.
            if person is not None and changes == self._changes:
                self._known[key] = _Known(person, at)
                if len(self._known) > _MOST_REMEMBERED:
                    self._known.popitem(last=False)
        return person

    def _find_token(self, secret: str) -> Person | None:
        if (file := self._file_of(fingerprint(secret))) is not None:
            return file.person
        found = self._access.token(secret, self._now())
        if found is None:
            return None
        self._note_used(found.id, found.used_at)
        return _person(found.person, found.role)

    def _find_session(self, secret: str) -> Person | None:
        found = self._access.session(secret, self._now())
        if found is None:
            return None
        if found.origin.startswith("file ") and found.origin not in map(_file_origin, self._files):
            return None
        if found.origin.partition(" ")[0] == "oidc" and (not self._provider or found.origin != self._provider_origin()):
            return None
        return _person(found.person, found.role)

    def _file_of(self, digest: str) -> FileToken | None:
        # By hashes, whose comparison's time tells nothing of the tokens.
        return next((each for each in self._files if each.fingerprint() == digest), None)

    def _provider_origin(self) -> str:
        return f"oidc #{fingerprint(self._provider)[:16]}"

    def _begin(self, person: Person, token: int | None, origin: str) -> tuple[Person, str]:
        cookie, now = self._new_secret(), self._now()
        self._access.begin_session(cookie, person.name, person.role.value, token, origin, now, now + self._session_s)
        return person, cookie

    def _note_used(self, token: int, used_at: float | None) -> None:
        now = self._now()
        with self._lock:
            if now - max(self._noted.get(token, 0.0), used_at or 0.0) < _NOTE_USE_EVERY_S:
                return
            self._noted[token] = now
        try:
            self._access.note_used(token, now)
        except TransientError as error:
            _log.warning("the use of token %d is not noted: %s", token, error.one_line())


def _file_origin(file: FileToken) -> str:
    return f"file {file.person.name} #{file.fingerprint()[:16]}"


def _person(name: str, role: str) -> Person | None:
    # A role that a newer version gave out lets nobody in here.
    return Person(name, Role(role)) if role in {each.value for each in Role} else None
