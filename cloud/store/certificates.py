"""Which certificates were signed, which of them ended early, and the one-time tokens by which devices enrol."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, select, update

from cloud.store.audit import write_audit
from cloud.store.certificate_tables import certificates, enrol_tokens
from cloud.store.database import Database
from cloud.store.tables import station_status, stations
from contract.errors import RefusedError
from contract.ids import check_station_id

_ANOTHER = "ask for another: plumbline-cloud provision token STATION"
# A station renews every few weeks. One that asks all the time would fill the table, and the revocation list with it.
_MOST_LIVE = 20


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """A certificate that was signed. Times are Unix seconds; `kind`: station, server, api or cloud."""

    serial: str
    kind: str
    subject: str
    issuer: str
    key_sha256: str
    not_before: float
    not_after: float
    issued_at: float
    revoked_at: float | None = None
    reason: str = ""

    def counts(self, now: float) -> bool:
        """Return whether it is neither over nor revoked."""
        return self.revoked_at is None and now < self.not_after


@dataclass(frozen=True, slots=True)
class StationCredentials:
    """What a new device gets: its certificate's row, and its token for the API."""

    row: CertificateRow
    token: str


class Certificates:
    """The certificates and enrol_tokens tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, row: CertificateRow, actor: str) -> None:
        """Keep what was signed, and say so in the audit log."""
        with self._database.write() as connection:
            _record(connection, row, actor, "issue certificate")

    def renew(self, row: CertificateRow, *, now: float) -> None:
        """Keep a station's next certificate, if it has one that counts: whoever revokes it comes before this, or finds it.

        Raises:
            RefusedError: it has none, or very many.
        """
        with self._database.write() as connection:
            _lock(connection, row.subject)
            found = len(connection.execute(select(certificates.c.serial).where(_counting(row.subject, now))).all())
            if not found:
                hint = f"enrol it anew: plumbline-cloud provision token {row.subject}"
                raise RefusedError(f"station '{row.subject}' has no certificate to renew", hint=hint)
            if found >= _MOST_LIVE:
                hint = f"is its clock right? enrol it anew: plumbline-cloud provision token {row.subject}"
                raise RefusedError(f"station '{row.subject}' has {found} certificates that still count", hint=hint)
            _record(connection, row, f"station {row.subject}", "issue certificate")

    def all(self) -> list[CertificateRow]:
        """Return every certificate, by subject, the oldest first."""
        query = select(certificates).order_by(certificates.c.subject, certificates.c.issued_at)
        with self._database.read() as connection:
            return [CertificateRow(**row._mapping) for row in connection.execute(query)]

    def revoked(self, issuer: str, now: float) -> list[CertificateRow]:
        """Return those of a CA that ended early and would count otherwise."""
        query = select(certificates).where(
            certificates.c.issuer == issuer, certificates.c.revoked_at.is_not(None), certificates.c.not_after > now
        )
        with self._database.read() as connection:
            return [CertificateRow(**row._mapping) for row in connection.execute(query)]

    def stations(self, now: float) -> list[str]:
        """Return the stations with a certificate that counts, by name."""
        query = (
            select(certificates.c.subject)
            .where(
                certificates.c.kind == "station", certificates.c.revoked_at.is_(None), certificates.c.not_after > now
            )
            .distinct()
            .order_by(certificates.c.subject)
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def ended(self, now: float) -> list[str]:
        """Return the stations that had certificates of which none counts any more, by name."""
        return sorted({row.subject for row in self.all() if row.kind == "station"} - {*self.stations(now)})

    def add_token(self, station: str, token: str, site: str, *, now: float, expires_at: float) -> None:
        """Let whoever shows `token` until `expires_at` enrol as `station`, once."""
        values = {"token_sha256": _digest(token), "station": check_station_id(station), "site": site}
        with self._database.write() as connection:
            connection.execute(enrol_tokens.insert().values(**values, made_at=now, expires_at=expires_at))
            write_audit(connection, now, "operator", "make enrolment token", f"{station}: until {expires_at:.0f}")

    def right_tokens(self, now: float) -> frozenset[str]:
        """Return the SHA-256 of every token that enrols somebody at `now`; one that was used still does, the same device."""
        query = select(enrol_tokens.c.token_sha256).where(enrol_tokens.c.expires_at > now)
        with self._database.read() as connection:
            return frozenset(connection.execute(query).scalars())

    def station_of(self, token: str, key_sha256: str, now: float) -> str:
        """Return the station that `token` enrols, by a device with this key.

        Raises:
            RefusedError: nobody's token, too old, or used by another key.
        """
        with self._database.read() as connection:
            return _station_of(connection, token, key_sha256, now)

    def enrol(self, token: str, new: StationCredentials, *, now: float) -> None:
        """Redeem `token`: record the certificate, give the station its token, end its earlier certificates; all or nothing.

        Raises:
            RefusedError: as `station_of`.
        """
        with self._database.write() as connection:
            station = _station_of(connection, token, new.row.key_sha256, now)
            # Under a condition: of two devices that redeem one token at once, in two processes, one comes too late.
            redeemed = connection.execute(
                update(enrol_tokens)
                .where(
                    enrol_tokens.c.token_sha256 == _digest(token),
                    enrol_tokens.c.expires_at > now,
                    enrol_tokens.c.used_at.is_(None) | (enrol_tokens.c.key_sha256 == new.row.key_sha256),
                )
                .values(used_at=now, key_sha256=new.row.key_sha256)
            )
            if redeemed.rowcount != 1:
                raise RefusedError("this enrolment token was used", hint=_ANOTHER)
            site = connection.execute(
                select(enrol_tokens.c.site).where(enrol_tokens.c.token_sha256 == _digest(token))
            ).scalar()
            self._credit(connection, station, new, str(site or ""), now, f"station {station}")

    def provision(self, new: StationCredentials, site: str, *, now: float) -> None:
        """Record a certificate that the cloud made with its key, and the station's token; earlier certificates end."""
        with self._database.write() as connection:
            self._credit(connection, new.row.subject, new, site, now, "operator")

    def revoke(self, station: str, reason: str, *, now: float) -> list[CertificateRow]:
        """End a station's certificates, its token and its enrolment tokens; return the certificates that ended."""
        with self._database.write() as connection:
            ended = _end(connection, station, reason, now)
            connection.execute(stations.update().where(stations.c.station == station).values(token_sha256=""))
            connection.execute(
                update(enrol_tokens)
                .where(enrol_tokens.c.station == station, enrol_tokens.c.expires_at > now)
                .values(expires_at=now)
            )
            # Its Will never comes: the broker asks, when it should be published, whether the station may speak.
            connection.execute(
                update(station_status)
                .where(station_status.c.station == station, station_status.c.online)
                .values(online=False, state_at=now)
            )
            write_audit(connection, now, "operator", "revoke station", f"{station}: {reason}")
        return ended

    def _credit(
        self, connection: Connection, station: str, new: StationCredentials, site: str, now: float, actor: str
    ) -> None:
        # The device that had them is replaced, or never got the answer: two devices must not be one station.
        _end(connection, station, "replaced", now)
        values = {"station": station, "token_sha256": _digest(new.token)}
        known = connection.execute(select(stations.c.station).where(stations.c.station == station)).first()
        if known is None:
            connection.execute(stations.insert().values(**values, site=site, added_at=now))
        else:
            connection.execute(stations.update().where(stations.c.station == station).values(**values))
        _record(connection, new.row, actor, "enrol station")


def _record(connection: Connection, row: CertificateRow, actor: str, act: str) -> None:
    values = {name: getattr(row, name) for name in CertificateRow.__slots__}
    connection.execute(certificates.insert().values(**values))
    write_audit(connection, row.issued_at, actor, act, f"{row.kind} {row.subject}: serial {row.serial}")


def _lock(connection: Connection, station: str) -> None:
    """Wait for whoever else changes this station's certificates; SQLite has one writer anyway."""
    connection.execute(select(stations.c.station).where(stations.c.station == station).with_for_update())


def _counting(station: str, now: float) -> ColumnElement[bool]:
    return (
        (certificates.c.kind == "station")
        & (certificates.c.subject == station)
        & certificates.c.revoked_at.is_(None)
        & (certificates.c.not_after > now)
    )


def _end(connection: Connection, station: str, reason: str, now: float) -> list[CertificateRow]:
    _lock(connection, station)
    count = _counting(station, now)
    ended = [CertificateRow(**row._mapping) for row in connection.execute(select(certificates).where(count))]
    connection.execute(update(certificates).where(count).values(revoked_at=now, reason=reason))
    return ended


def _station_of(connection: Connection, token: str, key_sha256: str, now: float) -> str:
    row = connection.execute(select(enrol_tokens).where(enrol_tokens.c.token_sha256 == _digest(token))).first()
    hint = _ANOTHER
    if row is None:
        raise RefusedError("nobody's enrolment token", hint=hint)
    if now >= row.expires_at:
        raise RefusedError("this enrolment token is too old", hint=hint)
    # The same key again is the same device, whose answer was lost.
    if row.used_at is not None and row.key_sha256 != key_sha256:
        raise RefusedError("this enrolment token was used", hint=hint)
    return str(row.station)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
