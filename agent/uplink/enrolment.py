"""Enrolment over HTTPS (contract.provisioning): nothing is sent before the plant's authority has shown the pinned fingerprint."""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
from typing import NoReturn, TypeVar

import httpx
import msgspec

from agent.uplink.tls import trusting
from contract.codec import decode_control, encode_control
from contract.errors import LinkDown, RefusedError
from contract.provisioning import (
    MAX_ENROL_BYTES,
    CertificateNote,
    Enrolled,
    EnrolRequest,
    Renewed,
    RenewRequest,
    check_files,
)

M = TypeVar("M", bound=msgspec.Struct)

MOST_AFTER_S = 3600.0
"""No `Retry-After` is believed to be more."""
_TIMEOUT_S = 60.0  # the broker is told before the answer comes
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class NotNow(LinkDown):
    """The plant answered that it can do nothing for so many seconds (its `Retry-After`)."""

    def __init__(self, message: str, *, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s


def fetch_authority(url: str, pin: str, *, timeout_s: float = _TIMEOUT_S) -> str:
    """Return the certificate (PEM) of the plant's authority, the one whose SHA-256 (hexadecimal, of DER) is `pin`.

    Nobody is trusted for it: the pin alone says that it is the right one.

    Raises:
        NotNow: the plant says when to ask again.
        LinkDown: no answer.
        RefusedError: what is there has another fingerprint.
    """
    open_to_all = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    open_to_all.check_hostname, open_to_all.verify_mode = False, ssl.CERT_NONE
    with httpx.Client(verify=open_to_all, timeout=timeout_s) as client:
        text = _ask(client, "GET", f"{url.rstrip('/')}/v1/ca").decode(errors="replace")
    wanted = pin.replace(":", "").strip().lower()
    for pem in _CERTIFICATE.findall(text):
        try:
            der = ssl.PEM_cert_to_DER_cert(pem)
        except ValueError:
            continue
        if hmac.compare_digest(hashlib.sha256(der).hexdigest().encode(), wanted.encode()):
            # Written anew from what was hashed: OpenSSL might read another certificate in the text than Python's base64 does.
            return ssl.DER_cert_to_PEM_cert(der)
    hint = "take --ca-sha256 from `plumbline-cloud provision token`; if it is the same, somebody is in between"
    raise RefusedError(f"what answers at {url} is not the plant with this fingerprint", hint=hint)


def enrol(url: str, authority: str, request: EnrolRequest, *, timeout_s: float = _TIMEOUT_S) -> Enrolled:
    """Return what the plant gives a new station; only `authority` is trusted.

    Raises:
        NotNow: the plant cannot do it now, and says when to ask again.
        LinkDown: no answer, or the plant cannot do it now.
        RefusedError: the token or the request is refused.
        BadMessage: the answer is none.
    """
    with httpx.Client(verify=trusting(authority, url), timeout=timeout_s) as client:
        body = _ask(client, "POST", f"{url.rstrip('/')}/v1/enrol", encode_control(request))
    answer = decode_control(body, Enrolled)
    check_files(answer.files)
    return answer


def renew(client: httpx.Client, url: str, station: str, csr: str) -> tuple[Renewed, CertificateNote]:
    """Return the next certificate and its life. `client` shows the station's token, and its present certificate.

    Raises:
        LinkDown, RefusedError, BadMessage: as `enrol`.
    """
    body = _ask(client, "POST", f"{url.rstrip('/')}/v1/renew/{station}", encode_control(RenewRequest(csr)))
    answer = decode_control(body, Renewed)
    return answer, CertificateNote(answer.not_before, answer.not_after)


def _ask(client: httpx.Client, method: str, url: str, content: bytes = b"") -> bytes:
    headers = {"Content-Type": "application/json"} if content else {}
    try:
        with client.stream(method, url, content=content, headers=headers, follow_redirects=False) as response:
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_ENROL_BYTES:
                    raise RefusedError(f"what answers at {url} is no Plumbline server: its answer does not end")
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise LinkDown(f"'{url}' was not reached: {error or type(error).__name__}", hint="is it running?") from error
    if response.status_code != 200:
        _refuse(url, response.status_code, body, response.headers.get("Retry-After", ""))
    return body


def _refuse(url: str, status: int, body: bytes, retry_after: str) -> NoReturn:
    try:
        said = str(msgspec.json.decode(body)["detail"])[:300]
    except (msgspec.DecodeError, KeyError, TypeError):
        said = f"answer {status}"
    if status >= 500 or status in (408, 425, 429):
        what = f"'{url}' is in trouble: {said}"
        if status in (429, 503) and retry_after.isdecimal():
            raise NotNow(what, after_s=min(max(float(retry_after[:9]), 1.0), MOST_AFTER_S))
        raise LinkDown(what)
    raise RefusedError(said)
