"""What `plumbline-agent doctor` says of certificates: this station's own, and why a TLS connection was not made."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from agent.commands.doctor_checks import Finding, Level
from agent.settings import Settings
from agent.settings_keys import BrokerSettings, CloudSettings
from agent.uplink.identity_files import IdentityFiles
from agent.uplink.tls import StationTls, trusting
from contract.provisioning import CertificateNote

_SOON_S = 30 * 86_400.0
_WITHIN_S = 4.0
_ENROL = "enrol it again: plumbline-cloud provision token STATION prints the command"

# OpenSSL's X509_V_ERR_* (x509_vfy.h), which Python gives as `verify_code`.
_NOT_YET, _EXPIRED, _NAMES = 9, 10, (62, 64)
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)

# By what OpenSSL calls the alert that the other side sent; it is said only after the handshake (TLS 1.3).
_ALERTS = {
    "CERTIFICATE_REVOKED": ("this station's certificate is revoked", f"if that is wrong, {_ENROL}"),
    "CERTIFICATE_EXPIRED": ("this station's certificate has ended by the other side's clock", _ENROL),
    "UNKNOWN_CA": ("it does not know the authority of this station's certificate", f"is it the same plant? {_ENROL}"),
    "CERTIFICATE_REQUIRED": ("it wants a certificate of this station", "set cert_file and key_file, as enrolment does"),
    "BAD_CERTIFICATE": ("it does not take this station's certificate", _ENROL),
    "CERTIFICATE_UNKNOWN": ("it does not take this station's certificate", _ENROL),
    "DECRYPT_ERROR": ("it cannot check this station's certificate: revoked, or of another authority", _ENROL),
    "PROTOCOL_VERSION": ("it does not speak TLS 1.3", "bring the broker or the proxy before it up to date"),
    "WRONG_VERSION_NUMBER": ("it speaks no TLS on this port", "correct the port"),
}


@dataclass(frozen=True, slots=True)
class Life:
    """From when until when a certificate counts (Unix seconds)."""

    begins: float
    ends: float


def day(seconds: float) -> str:
    """Return the date of a Unix time, in UTC."""
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d}"


def certificate(settings: Settings, now: float) -> Finding:
    """Look at this station's certificates: whether they can be used, whose they are, and when they end."""
    sections: tuple[BrokerSettings | CloudSettings, ...] = (settings.broker, settings.cloud)
    used = dict.fromkeys(
        (each.ca_file, each.cert_file, each.key_file) for each in sections if each.cert_file and each.ca_file
    )
    if not used:
        if any(each.ca_file for each in sections):
            return Finding("certificate", Level.OK, "none of its own: it only checks the other side's")
        return Finding("certificate", Level.OK, "none is configured: broker and cloud are spoken to without")
    path = settings.path
    found = [_own(path(ca), path(own), path(key), settings.station, now) for ca, own, key in used]
    return min(found, key=lambda each: (Level.FAIL, Level.WARNING, Level.OK).index(each.level))


def _own(ca_file: Path, cert_file: Path, key_file: Path, station: str, now: float) -> Finding:
    StationTls(ca_file, cert_file, key_file, strict=True)  # says which of the files cannot be used
    note = IdentityFiles(cert_file.parent).note()
    try:
        name, life = _read_own(ca_file, cert_file, key_file)
    except ssl.SSLCertVerificationError as error:
        ends = f" on {day(note.not_after)}" if note else ""
        if error.verify_code == _EXPIRED:
            found = f"this station's certificate ended{ends}, by this device's clock: it says {day(now)}"
            return Finding("certificate", Level.FAIL, found, f"set the clock if it is wrong; else {_ENROL}")
        if error.verify_code == _NOT_YET:
            begins = f" before {day(note.not_before)}" if note else " yet"
            found = f"this station's certificate does not count{begins}, and this device's clock says {day(now)}"
            return Finding("certificate", Level.FAIL, found, "set the clock: start a time service")
        if error.verify_code in _UNKNOWN_AUTHORITY:
            found = f"no authority in '{ca_file}' signed '{cert_file}': one of them is another plant's, or was changed"
            return Finding("certificate", Level.WARNING, found, _ENROL)
        return Finding("certificate", Level.WARNING, f"'{cert_file}': {error.verify_message}", _ENROL)
    if name and name != station:
        found = f"the certificate is {name}'s, this station is {station}: a broker lets it speak as {name} only"
        return Finding("certificate", Level.FAIL, found, "correct `station`, or enrol this device as it")
    said = f"{name or 'it'} counts until {day(life.ends)}"
    if life.ends - now < min(_SOON_S, (life.ends - life.begins) / 6):
        return Finding("certificate", Level.WARNING, said, _overdue(note, now))
    return Finding("certificate", Level.OK, f"{said}{_renewed(note)}")


def _renewed(note: CertificateNote | None) -> str:
    return f", and is renewed from {day(note.renew_at())} on" if note else "; nobody wrote down when to renew it"


def _overdue(note: CertificateNote | None, now: float) -> str:
    if note is None or note.renew_at() > now:
        return "renew it: plumbline-agent enrol --renew"
    return f"it was to be renewed by itself from {day(note.renew_at())} on; try: plumbline-agent enrol --renew"


def _read_own(ca_file: Path, cert_file: Path, key_file: Path) -> tuple[str, Life]:
    """Return whose the certificate is ("" for nobody's) and its life, as who trusts `ca_file` alone reads it.

    The standard library tells a certificate's content only to who verified it in a handshake, so both sides of one are played here.

    Raises:
        ssl.SSLCertVerificationError: it does not count: signer, time, purpose.
    """
    asked = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    asked.verify_mode = ssl.CERT_REQUIRED
    asked.load_verify_locations(ca_file)
    asked.load_cert_chain(cert_file, key_file)
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    shown.check_hostname, shown.verify_mode = False, ssl.CERT_NONE
    shown.load_cert_chain(cert_file, key_file)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = asked.wrap_bio(to_server, to_client, server_side=True)
    client = shown.wrap_bio(to_client, to_server)
    # Hello; hello, request and certificate; the certificate asked for: each side is asked until the server has that.
    for _ in range(4):
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
            break
    read = server.getpeercert() or {}
    return _name(read), _life(read)


def _name(read: object) -> str:
    subject = read.get("subject", ()) if isinstance(read, dict) else ()
    return next((str(value) for part in subject for key, value in part if key == "commonName"), "")


def _life(read: object) -> Life:
    if not isinstance(read, dict):
        return Life(0.0, 0.0)
    begins, ends = (float(ssl.cert_time_to_seconds(str(read[key]))) for key in ("notBefore", "notAfter"))
    return Life(begins, ends)


def context(settings: Settings, section: BrokerSettings | CloudSettings) -> ssl.SSLContext:
    """Return what the station itself connects with.

    Raises:
        InvalidConfig: a file of it cannot be used.
    """
    ca_file = settings.path(section.ca_file)
    if section.cert_file:
        return StationTls(
            ca_file, settings.path(section.cert_file), settings.path(section.key_file), strict=True
        ).context
    return trusting(ca_file.read_text(errors="replace") if ca_file.is_file() else "", str(ca_file))


def server_end(connection: ssl.SSLSocket) -> float:
    """Return when the other side's certificate ends (Unix seconds)."""
    return _life(connection.getpeercert()).ends


def ends_soon(ends: float, now: float) -> bool:
    """Return whether somebody should renew a server's certificate."""
    return ends - now < _SOON_S


def why(error: BaseException, host: str, port: int, now: float) -> tuple[str, str] | None:
    """Return in plain words why TLS failed, and what to do; None when `error` has nothing to do with TLS."""
    failed = next((each for each in _chain(error) if isinstance(each, ssl.SSLError)), None)
    if failed is None:
        return None
    if isinstance(failed, ssl.SSLCertVerificationError):
        return _distrust(failed, host, port, now)
    reason = failed.reason or ""
    for alert, words in _ALERTS.items():
        if alert in reason:
            return words
    return f"TLS failed: {reason or failed}", "see the broker's or the server's log"


def _distrust(error: ssl.SSLCertVerificationError, host: str, port: int, now: float) -> tuple[str, str]:
    code = error.verify_code
    if code in _NAMES:
        names = ", ".join(_names_of(host, port)) or "other names"
        return (
            f"its certificate is for {names}, not for '{host}'",
            "set host to a name that it has, or make it for this one",
        )
    if code == _EXPIRED:
        todo = "if the clock is right: plumbline-cloud provision renew, then restart the broker and the server"
        return f"its certificate has ended, by this device's clock: it says {day(now)}", todo
    if code == _NOT_YET:
        return f"its certificate does not count yet, by this device's clock: it says {day(now)}", "set the clock"
    if code in _UNKNOWN_AUTHORITY:
        todo = "is it the right plant? copy the plant's provision/trust.pem to ca_file, or enrol again"
        return "its certificate is not of the authority in ca_file", todo
    return f"its certificate cannot be trusted: {error.verify_message}", "plumbline-cloud provision status shows it"


def _names_of(host: str, port: int) -> tuple[str, ...]:
    """Return the names in the certificate of a server whose authority was found good: the name alone was wrong."""
    pem = ""
    with contextlib.suppress(OSError):
        pem = ssl.get_server_certificate((host, port), timeout=_WITHIN_S)
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname = False
    try:
        # The certificate itself is the authority here: this reads it, and trusts nothing.
        anybody.load_verify_locations(cadata=pem)
        anybody.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        with socket.create_connection((host, port), _WITHIN_S) as plain, anybody.wrap_socket(plain) as connection:
            read = connection.getpeercert() or {}
    except (OSError, ValueError):
        return ()
    names = read.get("subjectAltName", ())
    return tuple(f"'{each[1]}'" for each in names if isinstance(each, tuple))


def speaks_tls(host: str, port: int) -> bool:
    """Return whether a server of TLS listens there, whoever it is."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), _WITHIN_S) as plain, anybody.wrap_socket(plain):
            return True
    except OSError:
        return False


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    # An HTTP client wraps what the socket said, twice.
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
