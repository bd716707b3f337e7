"""The desk at which stations come by certificates, renew them, and lose them."""

from __future__ import annotations

import hashlib
import logging
import math
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cloud.provision.authority import Identity, Issued, key_digest, make_key, read_request
from cloud.provision.broker_roles import BrokerRoles, Synced, Told
from cloud.provision.folder import CONF, TOLD_LIST, ProvisionFolder
from cloud.provision.revocation import Revoked, make_list
from cloud.provision.stations_door import Naming, with_subjects
from cloud.store.certificates import CertificateRow, Certificates, StationCredentials
from contract.errors import LinkDown, RefusedError
from contract.ids import check_station_id
from contract.provisioning import Enrolled, EnrolRequest, Renewed, RenewRequest

SOON_S = 30 * 86_400.0
_WARN_EVERY_S = 86_400.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Provisioned:
    """A station's answer, its private key when the cloud made it ("" when the device did), and how the broker knows."""

    answer: Enrolled
    key: str
    told: Told


class Desk:
    """Signs with the plant's CA. Each call reads the folder anew: a rotation counts at once. Thread-safe.

    Args:
        files_of: gives a station's agent.toml and trust anchors.
        reserved: names that no station may have, nor one that begins with it and "-": the cloud's MQTT client ids. A station's
            client id is its name, and who connects with another's ends the other's connection.
    """

    def __init__(
        self,
        folder: ProvisionFolder,
        certificates: Certificates,
        roles: BrokerRoles,
        files_of: Callable[[str], Mapping[str, str]],
        *,
        days: float,
        now: Callable[[], float],
        reserved: frozenset[str] = frozenset(),
    ) -> None:
        self._folder, self._certificates, self._roles, self._files_of = folder, certificates, roles, files_of
        self._days, self._now, self._reserved = days, now, reserved
        self._warned_at = -math.inf
        self._lists = threading.Lock()
        # A station that is enrolled anew is known to the broker a moment before the database has it.
        self._changing = threading.Lock()

    def trusted(self) -> str:
        """Return whom stations trust (PEM)."""
        return self._folder.trust.read_text()

    def make_token(self, station: str, site: str, *, valid_s: float) -> str:
        """Return a new one-time token that enrols `station`.

        Raises:
            InvalidConfig: the id is none.
            RefusedError: the name is taken by the cloud.
        """
        self._check(station)
        # Hexadecimal: one in 64 of the URL-safe kind begins with a dash, and is an option to whoever types it after --token.
        now, token = self._now(), secrets.token_hex(24)
        self._certificates.add_token(station, token, site, now=now, expires_at=now + valid_s)
        return token

    def enrol(self, request: EnrolRequest) -> Enrolled:
        """Return everything a device needs that shows a one-time token and made its own key.

        The broker is told first: that a station which has no certificate yet may speak harms nobody, and a token must not be
        used up by a broker that is away. The same token and key again get a new answer: the first was lost.

        Raises:
            InvalidConfig: the request is none.
            RefusedError: the token is not good, or no more.
            LinkDown: the broker cannot be told now.
        """
        public = read_request(request.csr)
        station = self._certificates.station_of(request.token, key_digest(public), self._now())
        files = dict(self._files_of(station))
        with self._changing:
            self._roles.add(station, lambda: self._certificates.stations(self._now()))
            new, known = self._credentials(station, public), self._is_known(station)
            self._certificates.enrol(request.token, new[1], now=self._now())
        self._write_lists()
        self._part(station, known=known)
        return self._answer(station, new, files)

    def provision(self, station: str, site: str) -> Provisioned:
        """Make a station's key here, for a device that cannot.

        Raises:
            InvalidConfig, RefusedError: as `make_token`.
            LinkDown: as `enrol`.
        """
        self._check(station)
        files = dict(self._files_of(station))
        told = self._roles.add(station, lambda: self._certificates.stations(self._now()))
        key, public = make_key()
        new, known = self._credentials(station, public), self._is_known(station)
        self._certificates.provision(new[1], site, now=self._now())
        self._write_lists()
        self._part(station, known=known)
        return Provisioned(self._answer(station, new, files), key.decode(), told)

    def renew(self, station: str, request: RenewRequest) -> Renewed:
        """Return the next certificate of a station that proved who it is; the one before it counts until it is over.

        Raises:
            InvalidConfig: the request is none.
            RefusedError: the station has no certificate that counts, or very many.
        """
        issued, new = self._credentials(station, read_request(request.csr))
        self._certificates.renew(new.row, now=self._now())
        return Renewed(issued.pem.decode(), self.trusted(), issued.not_before, issued.not_after)

    def revoke(self, station: str, reason: str) -> tuple[int, Told, bool]:
        """End a station's certificates and tokens; return how many certificates, how the broker knows, and whether it reloads.

        What denies comes first in the database: should the broker not be reached, `sync` goes on from there.

        Raises:
            LinkDown: a broker runs and was not told; the rest is done.
        """
        ended = self._certificates.revoke(check_station_id(station), reason, now=self._now())
        reloaded = self._write_lists()
        told = self._roles.remove(station, lambda: self._certificates.stations(self._now()))
        return len(ended), told, reloaded

    def sync(self) -> Synced:
        """Make the brokers' roles and revocation lists those of the database.

        Raises:
            LinkDown: a broker runs and was not told.
        """
        self._warn_of_ends()
        self._write_lists()
        with self._changing:
            now = self._now()
            return self._roles.sync(self._certificates.stations(now), self._certificates.ended(now))

    def update_broker(self) -> bool:
        """Let brokers name stations by their certificates' whole subjects; return whether they did not yet.

        Killed, it is done again. The roles are written for the names that mosquitto.conf says, so it comes first.

        Raises:
            RefusedError: a broker runs: as it ends, it would write its roles over these.
            InvalidConfig: mosquitto.conf has no door for stations as `provision init` makes it.
            LinkDown: as `sync`.
        """
        before = self._folder.conf()
        after = with_subjects(before)
        if after != before:
            if self._roles.is_reached():
                hint = "stop every broker of this plant, do this again, and start them: stations keep what they have to say"
                raise RefusedError("a broker runs, with the configuration that is to be changed", hint=hint)
            self._folder.write(f"broker/{CONF}", after.encode())
        self.sync()
        return after != before

    def sync_lists(self) -> bool:
        """Write the revocation lists if they change; return whether a broker on this machine reads them."""
        return self._write_lists()

    def issue_server(self, kind: str, names: tuple[str, ...], file: str, signer: str) -> None:
        """Make a server's key and certificate ("server" for the broker, "api") anew, into a file of the folder."""
        key, public = make_key()
        issued = self._folder.authority(signer).sign_server(names, public, now=self._now(), days=self._days)
        self._certificates.record(_row(kind, names[0], issued, self._now()), "operator")
        self._folder.write_secret(file, Identity(issued.pem, key).pem())

    def issue_cloud(self, user: str, file: str) -> None:
        """Make a key and certificate of the cloud's own, by the CA that only the broker's second listener trusts."""
        key, public = make_key()
        issued = self._folder.authority("cloud-ca").sign_client(user, public, now=self._now(), days=self._days)
        self._certificates.record(_row("cloud", user, issued, self._now()), "operator")
        self._folder.write_secret(file, Identity(issued.pem, key).pem())

    def _warn_of_ends(self) -> None:
        """Say once a day which certificates of the plant itself end soon: without them no station is reached, and none warns."""
        now = self._now()
        if now - self._warned_at < _WARN_EVERY_S:
            return
        self._warned_at = now
        if Naming.COMMON_NAME in self._folder.namings():
            _log.warning("whoever has ca.key can be the cloud at this broker: plumbline-cloud provision update-broker")
        own = [row for row in self._certificates.all() if row.kind != "station" and row.revoked_at is None]
        newest = {(row.kind, row.subject): row for row in own}
        ends = {f"{row.kind} {row.subject}": row.not_after for row in newest.values()}
        ends |= {"the plant's authority": self._folder.authority().certificate.not_valid_after_utc.timestamp()}
        for name, end in sorted(ends.items()):
            if end - now < SOON_S:
                _log.warning(
                    "the certificate of %s ends in %.0f days: plumbline-cloud provision status",
                    name,
                    (end - now) / 86_400.0,
                )

    def _is_known(self, station: str) -> bool:
        return station in self._certificates.stations(self._now())

    def _part(self, station: str, *, known: bool) -> None:
        """Close the connection of the device that was this station until now: a revocation list is looked at only at the start."""
        if not known:
            return
        try:
            self._roles.part(station)
        except LinkDown as error:
            _log.warning("the device that was %s may be connected still: %s", station, error.one_line())

    def _check(self, station: str) -> None:
        check_station_id(station)
        if any(station == name or station.startswith(f"{name}-") for name in self._reserved):
            raise RefusedError(f"'{station}' is the cloud's own name at the broker", hint="choose another")

    def _credentials(self, station: str, public: bytes) -> tuple[Issued, StationCredentials]:
        issued = self._folder.authority().sign_client(station, public, now=self._now(), days=self._days)
        return issued, StationCredentials(_row("station", station, issued, self._now()), secrets.token_urlsafe(32))

    def _answer(self, station: str, new: tuple[Issued, StationCredentials], files: dict[str, str]) -> Enrolled:
        issued, credentials = new
        return Enrolled(
            station=station,
            certificate=issued.pem.decode(),
            ca=self.trusted(),
            not_before=issued.not_before,
            not_after=issued.not_after,
            station_token=credentials.token,
            files=files,
        )

    def _write_lists(self) -> bool:
        """Write the revocation lists if they change, and let the broker read them; return whether it does."""
        # The folder's lock is for other processes: one that read the database earlier must not write an older list later.
        with self._lists, self._folder.locked():
            return self._write_lists_locked()

    def _write_lists_locked(self) -> bool:
        now, lists, changed = self._now(), b"", False
        for authority in self._folder.issuing():
            file = self._folder.path / f"crl-{authority.fingerprint[:16]}.pem"
            before = file.read_bytes() if file.is_file() else None
            rows = self._certificates.revoked(authority.fingerprint, now)
            revoked = [Revoked(row.serial, row.revoked_at or now) for row in rows]
            if before is None or not _lists_exactly(before, revoked):
                before = make_list(authority, revoked, before, now=now)
                self._folder.write(file.name, before)
                changed = True
            lists += before
        if changed or not self._folder.crl.is_file() or self._folder.crl.read_bytes() != lists:
            self._folder.write("broker/crl.pem", lists)
        # What was written and not told, by a process that was killed in between, is told by the next.
        if self._folder.told_list() == hashlib.sha256(lists).hexdigest():
            return self._folder.broker_pid() is not None
        reloaded = self._folder.reload_broker()
        if reloaded:
            self._folder.write(TOLD_LIST, hashlib.sha256(lists).hexdigest().encode())
        return reloaded


def _lists_exactly(pem: bytes, revoked: list[Revoked]) -> bool:
    from cryptography import x509

    return {f"{each.serial_number:x}" for each in x509.load_pem_x509_crl(pem)} == {each.serial for each in revoked}


def _row(kind: str, subject: str, issued: Issued, now: float) -> CertificateRow:
    return CertificateRow(
        serial=issued.serial,
        kind=kind,
        subject=subject,
        issuer=issued.issuer,
        key_sha256=issued.key_sha256,
        not_before=issued.not_before,
        not_after=issued.not_after,
        issued_at=now,
    )
