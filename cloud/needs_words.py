"""Counts, names and spans of time as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 3
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")


def count_of(number: int, what: str) -> str:
    """Return "1 station", "2 stations", "10,000 stations"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def list_of(names: Sequence[str], what: str = "station") -> str:
    """Return up to three names with "and", else how many there are and the first of them."""
    if len(names) > _NAMED:
        return f"{count_of(len(names), what)} ({', '.join(names[:_NAMED])}, ...)"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def span(seconds: float) -> str:
    """Return a length of time in its largest unit of which there are two or more: "3 d", "95 min", "20 s"."""
    for size, name in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= size * 2:
            return f"{seconds / size:.0f} {name}"
    return f"{max(seconds, 0.0):.0f} s"


def url_word(text: str) -> str:
    """Return a text as it stands in the query of a URL (RFC 3986, 2.1)."""
    return "".join(c if c in _PLAIN else "".join(f"%{byte:02X}" for byte in c.encode()) for c in text)
