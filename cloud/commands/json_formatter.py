"""The server's log as one JSON object a line ([log] format = "json")."""

from __future__ import annotations

import logging
import traceback
from datetime import datetime, timezone

from contract.log_line import log_line


class JsonFormatter(logging.Formatter):
    """Formats a record of the standard library's logging."""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        told = "".join(traceback.format_exception(error)) if error is not None else ""
        at = datetime.fromtimestamp(record.created, timezone.utc)
        stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return log_line(stamp, record.levelname.lower(), record.name, record.getMessage(), told)
