"""Text in a table that people open in a spreadsheet: it must stay text, whatever a station or a person called something.

A cell that begins with =, +, -, @, a tab or a carriage return may be run as a formula. A quote before it makes text of it; one that
begins with quotes and then such a character gets one more, so that what is read back is what was written.
Source: OWASP, "CSV Injection".
"""

from __future__ import annotations

_STARTS = ("=", "+", "-", "@", "\t", "\r")


def guarded(text: str) -> str:
    """Return a cell's text as it is written.

    >>> guarded("=1+1"), guarded("scratch")
    ("'=1+1", 'scratch')
    """
    return f"'{text}" if text.lstrip("'").startswith(_STARTS) else text


def unguarded(cell: str) -> str:
    """Return the text that `guarded` wrote as `cell`."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_STARTS) else cell
