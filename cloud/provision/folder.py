"""The folder of the plant's authorities: what is where, and who may read it.

ca.pem, ca.key              the CA that signs stations and servers; devices pin its SHA-256
old-ca.pem, old-ca.key      the one before it, while certificates of it still count
next-ca.pem, next-ca.key    the one that will take its place, while `rotate-ca` begins
gone-ca.pem                 the one that counts no more, while `rotate-ca --finish` works
cloud-ca.pem, cloud-ca.key  the CA of the cloud's own certificates, which the broker trusts on a listener of its own
trust.pem                   whom stations and servers of this plant trust: ca.pem, and old-ca.pem while it is there
cloud.pem, admin.pem        certificate and key of the ingest workers, and of `plumbline-cloud provision`
api.pem                     certificate and key of the HTTPS server
crl-told.txt                SHA-256 of the revocation lists that the broker was last told to read
plant.json                  the names and ports that were given to `provision init`
broker/                     everything mosquitto needs (firmware_config/mosquitto/mosquitto.conf.in)
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cloud.provision.authority import Authority
from cloud.provision.dynsec import document
from cloud.provision.stations_door import Naming, naming_of
from cloud.registry.durable_file import fsync_folder, write_durably
from contract.errors import InvalidConfig

TOLD_LIST, CONF, ROLES = "crl-told.txt", "mosquitto.conf", "dynamic-security.json"
_HINT = "make it with: plumbline-cloud provision init"


class PlantFile(msgspec.Struct, frozen=True):
    """plant.json. The first of `broker_names` is what stations are told; the ports are those of the two listeners."""

    broker_names: tuple[str, ...]
    api_names: tuple[str, ...]
    station_port: int
    cloud_port: int


class ProvisionFolder:
    """Reads and writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broker = path / "broker"
        self.trust = path / "trust.pem"
        self.crl = self.broker / "crl.pem"

    def exists(self) -> bool:
        """Return whether `provision init` was done here."""
        return (self.path / "plant.json").is_file()

    def plant(self) -> PlantFile:
        """Return what `provision init` was told.

        Raises:
            InvalidConfig: it was not done.
        """
        try:
            return msgspec.json.decode((self.path / "plant.json").read_bytes(), type=PlantFile)
        except (OSError, msgspec.DecodeError) as error:
            raise InvalidConfig(f"no certificate authority in {self.path}", hint=_HINT) from error

    def authority(self, name: str = "ca") -> Authority:
        """Return a CA: "ca", "old-ca" or "cloud-ca".

        Raises:
            InvalidConfig: it is not there, or no CA.
        """
        try:
            certificate, key = (self.path / f"{name}.pem").read_bytes(), (self.path / f"{name}.key").read_bytes()
        except OSError as error:
            raise InvalidConfig(f"no certificate authority: {error}", hint=_HINT) from error
        return Authority(certificate, key)

    def has_old(self) -> bool:
        """Return whether the CA before this one is still trusted."""
        return (self.path / "old-ca.pem").is_file()

    def issuing(self) -> list[Authority]:
        """Return the CAs whose stations may speak, the one that signs now first."""
        return [self.authority(), *([self.authority("old-ca")] if self.has_old() else [])]

    def write_authority(self, name: str, authority: Authority, key: bytes) -> None:
        """Keep a CA. The key first: a certificate without its key would be pinned for nothing."""
        self.write_secret(f"{name}.key", key)
        self.write(f"{name}.pem", authority.pem)

    def is_beginning(self) -> bool:
        """Return whether `begin_rotation` was called and `end_beginning` not yet: the next CA is in its place, or not yet."""
        return (self.path / "next-ca.pem").is_file()

    def is_finishing(self) -> bool:
        """Return whether `drop_old` was called and `end_finishing` not yet."""
        return (self.path / "gone-ca.pem").is_file()

    def begin_rotation(self, make: Callable[[], tuple[Authority, bytes]]) -> Authority:
        """Put a new CA in the place of the one that signs, which becomes the old one; return the new. Killed, it is done again.

        Key and certificate are two files: the pair that takes over lies whole beside them before either is replaced.
        """
        if not self.is_beginning():
            self.write_authority("next-ca", *make())
        if not self.has_old():
            self.write_authority("old-ca", self.authority(), (self.path / "ca.key").read_bytes())
        authority = self.authority("next-ca")
        self.write_authority("ca", authority, (self.path / "next-ca.key").read_bytes())
        self.write_trust()
        return authority

    def end_beginning(self) -> None:
        """Forget the copy that `begin_rotation` made: everything else is in its place."""
        # The certificate first: while it is there, so is its key.
        self._delete("next-ca.pem", "next-ca.key")

    def drop_old(self) -> None:
        """Trust the old CA no more. Killed, it is done again; `end_finishing` ends it."""
        if self.has_old():
            (self.path / "old-ca.pem").replace(self.path / "gone-ca.pem")
            fsync_folder(self.path)
        self.write_trust()

    def end_finishing(self) -> None:
        """Delete the old CA's key, and what says that it is being given up."""
        self._delete("next-ca.key", "old-ca.key", "gone-ca.pem")

    def _delete(self, *names: str) -> None:
        for name in names:
            (self.path / name).unlink(missing_ok=True)
            fsync_folder(self.path)

    def write_trust(self) -> None:
        """Write whom to trust, here and for the broker."""
        pem = b"".join(each.pem for each in self.issuing())
        self.write("trust.pem", pem)
        self.write("broker/ca.pem", pem)

    def write(self, name: str, data: bytes) -> None:
        """Replace a file that anybody may read."""
        write_durably(self.path / name, (data,))

    def write_secret(self, name: str, data: bytes) -> None:
        """Replace a file that only its owner may read."""
        write_durably(self.path / name, (data,), mode=0o600)

    def write_roles(self, stations: Iterable[str]) -> bool:
        """Write dynamic-security.json for a broker that does not run; return whether it changed."""
        file = self.broker / ROLES
        data = msgspec.json.encode(document(stations, self.namings()))
        if file.is_file() and file.read_bytes() == data:
            return False
        write_durably(file, (data,), mode=0o600)
        return True

    def conf(self) -> str:
        """Return the broker's mosquitto.conf.

        Raises:
            InvalidConfig: it cannot be read.
        """
        try:
            return (self.broker / CONF).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfig(f"the broker's configuration cannot be read: {error}", hint=_HINT) from error

    def namings(self) -> tuple[Naming, ...]:
        """Return how the brokers name stations: as mosquitto.conf says; in both ways where it is not here, or does not say."""
        try:
            naming = naming_of(self.conf())
        except InvalidConfig:
            naming = None
        return (naming,) if naming is not None else tuple(Naming)

    def broker_pid(self) -> int | None:
        """Return the process of a mosquitto that runs on this machine with this folder, None when there is none."""
        try:
            pid = int((self.broker / "mosquitto.pid").read_text())
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except (OSError, ValueError):
            return None
        return pid if name.startswith("mosquitto") else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock among processes; the system takes it from one that dies."""
        with (self.path / ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def told_list(self) -> str:
        """Return the SHA-256 (hexadecimal) of the lists that the broker was last told to read, "" for never."""
        try:
            return (self.path / TOLD_LIST).read_text()
        except OSError:
            return ""

    def reload_broker(self) -> bool:
        """Let a mosquitto on this machine read its revocation list anew; return whether there was one."""
        pid = self.broker_pid()
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGHUP)
        except OSError:
            return False
        return True
