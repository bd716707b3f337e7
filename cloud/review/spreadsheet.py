"""Text in a table that people open in a spreadsheet: it must stay text, whatever a station or a person called something.

A cell that begins with =, +, -, @ or their wide forms, also behind white space, may be run as a formula; so may one that begins
with a tab or a line end. A quote before it makes text of it. Where a comma is written in numbers, spreadsheets part a line at
semicolons, whatever stands between them: so each part of a text counts as a cell here. What begins with quotes and then such a
character gets one more, so that what is read back is what was written.
Source: OWASP, "CSV Injection".
"""

from __future__ import annotations

import re

_PART = re.compile(r"[^;\t\r\n]+")
_FORMULA = re.compile(r"'*\s*[=+\-@＝＋－＠]")
_BREAK = re.compile(r"'*[\t\r\n]")


def guarded(text: str) -> str:
    """Return a cell's text as it is written.

    >>> guarded("=1+1"), guarded("dent;=1+1"), guarded("scratch")
    ("'=1+1", "dent;'=1+1", 'scratch')
    """
    parts = _PART.sub(lambda part: f"'{part[0]}" if _FORMULA.match(part[0]) else part[0], text)
    return f"'{parts}" if _BREAK.match(parts) else parts


def unguarded(cell: str) -> str:
    """Return the text that `guarded` wrote as `cell`."""
    parts = cell[1:] if cell.startswith("'") and _BREAK.match(cell) else cell
    return _PART.sub(lambda part: part[0][1:] if part[0][0] == "'" and _FORMULA.match(part[0]) else part[0], parts)
