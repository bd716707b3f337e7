"""A station's certificate and key on the disk: whole or as before, whatever moment power is lost at.

identity.pem       certificate and private key in one file, so that one rename replaces both
ca.pem             whom the station trusts
certificate.json   the certificate's life (contract.provisioning.CertificateNote)
enrolling.json     a key that was made and not certified yet: a lost answer is asked for again with the same key
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import msgspec

from agent.uplink.device_key import DeviceKey, make_device_key
from contract.errors import StorageFull, TransientError
from contract.provisioning import CertificateNote

IDENTITY, CA, NOTE, PENDING = "identity.pem", "ca.pem", "certificate.json", "enrolling.json"


class IdentityFiles:
    """Those files in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def note(self) -> CertificateNote | None:
        """Return the certificate's life; None when nobody wrote it down, as for one that did not come from enrolment."""
        try:
            return msgspec.json.decode((self.folder / NOTE).read_bytes(), type=CertificateNote)
        except (OSError, msgspec.DecodeError):
            return None

    def stamp(self) -> tuple[int, int]:
        """Return what changes when identity.pem is replaced."""
        try:
            found = (self.folder / IDENTITY).stat()
        except OSError:
            return (0, 0)
        return (found.st_ino, found.st_mtime_ns)

    def pending_key(self) -> DeviceKey:
        """Return the key that waits for its certificate, made now if there is none.

        Raises:
            InvalidConfig, TransientError: it cannot be made, or kept.
        """
        try:
            waiting = msgspec.json.decode((self.folder / PENDING).read_bytes(), type=dict[str, str])
            return DeviceKey(waiting["key"], waiting["request"])
        except (OSError, msgspec.DecodeError, KeyError):
            pass
        made = make_device_key(self.folder)
        self.write(PENDING, msgspec.json.encode({"key": made.key, "request": made.request}), mode=0o600)
        return made

    def take(
        self, key: DeviceKey, certificate: str, ca: str, note: CertificateNote, *, more_comes: bool = False
    ) -> None:
        """Replace the certificate. Authorities first: old and new are in it, so either certificate goes with it.

        `more_comes`: the same answer brings other files, so the key stays to ask again with until `forget_pending_key`.

        Raises:
            StorageFull, TransientError: the disk refused; the certificate that was there is whole.
        """
        self.write(CA, ca.encode())
        self.write(IDENTITY, (certificate + key.key).encode(), mode=0o600)
        self.write(NOTE, msgspec.json.encode(note))
        if not more_comes:
            self.forget_pending_key()

    def forget_pending_key(self) -> None:
        """Let the next certificate be asked for with a new key."""
        with contextlib.suppress(OSError):
            (self.folder / PENDING).unlink()

    def write(self, name: str, data: bytes, *, mode: int = 0o644) -> None:
        """Replace a file of the folder, made durable, in one step; `name` may have folders in it.

        Raises:
            StorageFull, TransientError: the disk refused; what was there is there.
        """
        path = self.folder / name
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            # The mode is set at creation: a key is never readable by others, not even for a moment.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            kind = StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else TransientError
            raise kind(f"'{path}' cannot be written: {error.strerror or error}") from error
