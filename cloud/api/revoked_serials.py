"""The serials in the revocation lists, read anew whenever their file is another."""

from __future__ import annotations

import logging
from pathlib import Path

_BEGIN = b"-----BEGIN X509 CRL-----"
_log = logging.getLogger(__name__)


class RevokedSerials:
    """For one thread, the event loop's: a look is a `stat`, and a file that changed is read on the spot (some kilobytes)."""

    def __init__(self, crl_file: Path) -> None:
        self._file = crl_file
        self._stamp: tuple[int, int] | None = None
        self._serials: frozenset[int] = frozenset()

    def has(self, serial: int) -> bool:
        """Return whether `serial` is revoked. A file that cannot be read leaves what was known."""
        from cryptography import x509

        try:
            found = self._file.stat()
            stamp = (found.st_ino, found.st_mtime_ns)
            if stamp != self._stamp:
                parts = self._file.read_bytes().split(_BEGIN)[1:]
                lists = [x509.load_pem_x509_crl(_BEGIN + part) for part in parts]
                if not lists:
                    raise ValueError("there is none in it")
                self._serials = frozenset(each.serial_number for one in lists for each in one)
                self._stamp = stamp
        except (OSError, ValueError) as error:
            _log.warning("the revocation list %s cannot be read: %s", self._file, error)
        return serial in self._serials
