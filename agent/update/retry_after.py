"""What a server's Retry-After header asks for."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

CAP_S = 3600.0
"""The longest that anybody may keep a station waiting by this header: a middlebox must not put updates off for good."""


def retry_after_s(header: str, now: float, *, cap_s: float = CAP_S) -> float:
    """Return how long to leave the server alone, seconds, 0 where the header says nothing that can be understood.

    `header` is a number of seconds or an HTTP date, which is judged by `now`, Unix seconds. Source: RFC 9110, 10.2.3.
    """
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), cap_s)
    try:
        at = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    return min(max(at - now, 0.0), cap_s)
