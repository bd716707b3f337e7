"""Who may come in: people's access tokens and the sessions of their browsers, both by their hashes alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, or_, select, update
from sqlalchemy.exc import IntegrityError

from cloud.store.audit import write_audit
from cloud.store.database import Database
from cloud.store.operate_tables import access_tokens, sessions
from contract.errors import NotFound, RefusedError

# A session that ended is kept for so long, for whoever asks who was signed in.
_KEEP_ENDED_S = 30 * 86_400.0
_ID_CHARS = 16


def fingerprint(secret: str) -> str:
    """Return the SHA-256 of a token or a cookie, in hex. No salt or stretching: each holds 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A person's token, without the secret. Times are Unix seconds, None for never; `used_at` is right to the minute."""

    id: int
    person: str
    role: str
    made_at: float
    made_by: str
    expires_at: float | None
    revoked_at: float | None
    used_at: float | None


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """Somebody signed in with a browser. `id` names it and opens nothing; `origin` says who vouched for them."""

    id: str
    person: str
    role: str
    token: int | None
    origin: str
    began_at: float
    expires_at: float


class Access:
    """The access_tokens and sessions tables. What lets people in or keeps them out is in the audit log, in one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_token(self, secret: str, person: str, role: str, made_by: str, now: float, expires_at: float | None) -> int:
        """Store a person's token and return its number.

        Raises:
            RefusedError: somebody has that very token.
        """
        row = {"person": person, "role": role, "made_by": made_by, "made_at": now, "expires_at": expires_at}
        try:
            with self._database.write() as connection:
                adding = access_tokens.insert().values(sha256=fingerprint(secret), **row)
                number = int(connection.execute(adding.returning(access_tokens.c.id)).scalar_one())
                write_audit(connection, now, made_by, "token made", f"{number}: {person}, {role}")
        except IntegrityError as error:
            raise RefusedError("somebody has this token already", hint="make another") from error
        return number

    def token(self, secret: str, now: float) -> AccessToken | None:
        """Return whose token this is; None for nobody's, or one that was revoked or has expired."""
        query = select(access_tokens).where(access_tokens.c.sha256 == fingerprint(secret), _good_token(now))
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _as_token(row)

    def note_used(self, token: int, now: float) -> None:
        """Remember that a token was used."""
        with self._database.write() as connection:
            connection.execute(update(access_tokens).where(access_tokens.c.id == token).values(used_at=now))

    def tokens(self) -> list[AccessToken]:
        """Return every token there ever was, oldest first."""
        with self._database.read() as connection:
            return [_as_token(row) for row in connection.execute(select(access_tokens).order_by(access_tokens.c.id))]

    def revoke(self, token: int, by: str, now: float) -> None:
        """End a token, and the sessions it began. One that was revoked stays as it is.

        Raises:
            NotFound: there is no such token.
        """
        c = access_tokens.c
        with self._database.write() as connection:
            row = connection.execute(select(c.person, c.role, c.revoked_at).where(c.id == token)).one_or_none()
            if row is None:
                raise NotFound(f"no token {token}", hint="list them with: plumbline-cloud token list")
            ended = connection.execute(
                update(access_tokens).where(c.id == token, c.revoked_at.is_(None)).values(revoked_at=now)
            )
            if ended.rowcount:
                ending = update(sessions).where(sessions.c.token == token, sessions.c.ended_at.is_(None))
                connection.execute(ending.values(ended_at=now))
                write_audit(connection, now, by, "token revoked", f"{token}: {row.person}, {row.role}")

    def begin_session(
        self, secret: str, person: str, role: str, token: int | None, origin: str, now: float, expires_at: float
    ) -> None:
        """Store that somebody signed in, and forget sessions that are long over."""
        row = {"person": person, "role": role, "token": token, "origin": origin}
        c = sessions.c
        with self._database.write() as connection:
            over = now - _KEEP_ENDED_S
            connection.execute(delete(sessions).where(or_(c.expires_at < over, c.ended_at < over)))
            connection.execute(
                sessions.insert().values(sha256=fingerprint(secret), began_at=now, expires_at=expires_at, **row)
            )
            write_audit(connection, now, person, "sign in", f"{role}, by {origin.partition(' #')[0]}")

    def session(self, secret: str, now: float) -> BrowserSession | None:
        """Return whose session this is; None where it ended, or the token that began it is good no more."""
        with self._database.read() as connection:
            row = connection.execute(_open_sessions(now).where(sessions.c.sha256 == fingerprint(secret))).one_or_none()
        return None if row is None else _as_session(row)

    def sessions(self, now: float) -> list[BrowserSession]:
        """Return the sessions that are open, oldest first."""
        with self._database.read() as connection:
            return [_as_session(row) for row in connection.execute(_open_sessions(now).order_by(sessions.c.began_at))]

    def sign_out(self, secret: str, now: float) -> None:
        """End a session by its cookie; one that is over stays so."""
        with self._database.write() as connection:
            found = connection.execute(
                _open_sessions(now).where(sessions.c.sha256 == fingerprint(secret))
            ).one_or_none()
            if found is not None:
                _end(connection, found, found.person, "sign out", now)

    def end_session(self, session: str, by: str, now: float) -> None:
        """End somebody's session.

        Raises:
            NotFound: none of that id is open.
        """
        with self._database.write() as connection:
            open_now = connection.execute(_open_sessions(now)).all()
            found = [row for row in open_now if row.sha256[:_ID_CHARS] == session]
            if not found:
                raise NotFound(f"no open session '{session[:_ID_CHARS]}'", hint="it may have ended by itself")
            for row in found:
                _end(connection, row, by, "session ended", now)


def _good_token(now: float) -> ColumnElement[bool]:
    c = access_tokens.c
    return and_(c.revoked_at.is_(None), or_(c.expires_at.is_(None), c.expires_at > now))


def _open_sessions(now: float) -> Select[Any]:
    joined = sessions.outerjoin(access_tokens, sessions.c.token == access_tokens.c.id)
    query = select(sessions).select_from(joined)
    still = and_(sessions.c.ended_at.is_(None), sessions.c.expires_at > now)
    return query.where(still, or_(sessions.c.token.is_(None), and_(access_tokens.c.id.is_not(None), _good_token(now))))


def _end(connection: Connection, row: Row[Any], by: str, act: str, now: float) -> None:
    connection.execute(update(sessions).where(sessions.c.sha256 == row.sha256).values(ended_at=now))
    write_audit(connection, now, by, act, f"{row.person}, {row.role}")


def _as_token(row: Row[Any]) -> AccessToken:
    return AccessToken(**{name: getattr(row, name) for name in AccessToken.__slots__})


def _as_session(row: Row[Any]) -> BrowserSession:
    values = {name: getattr(row, name) for name in BrowserSession.__slots__ if name != "id"}
    return BrowserSession(row.sha256[:_ID_CHARS], **values)
