"""A log for machines: one JSON object a line, with the same fields on both sides."""

from __future__ import annotations

import msgspec


def log_line(stamp: str, level: str, who: str, say: str, error: str = "") -> str:
    """Return one line, without its end: `at`, `level`, `who`, `say`, and `error` where there is one.

    Whatever `say` holds, it stays one line: JSON escapes line ends.

    Args:
        stamp: RFC 3339, UTC.
        level: "debug", "info", "warning", "error" or "critical".
        who: the logger, or the station.
        error: an exception with its traceback.
    """
    fields = {"at": stamp, "level": level, "who": who, "say": say}
    if error:
        fields["error"] = error
    return msgspec.json.encode(fields).decode()
