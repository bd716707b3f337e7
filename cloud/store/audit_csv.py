"""The audit log as CSV for a spreadsheet, which must not run what people wrote in reasons and names as formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime, timezone

from cloud.review.spreadsheet import guarded
from cloud.store.audit import AuditLog

_COLUMNS = ("id", "at", "actor", "act", "detail", "hash")
_PAGE = 2_000


def audit_csv(
    audit: AuditLog, *, actor: str = "", act: str = "", text: str = "", most: int | None = None
) -> Iterator[str]:
    """Yield the log as CSV (RFC 4180), newest first, a page of entries at a time; the header first, with the first page.

    `actor`, `act`, `text`: as `AuditLog.entries`; `most`: no more entries than this.
    """
    before: int | None = None
    left = most
    head: tuple[str, ...] | None = _COLUMNS
    while True:
        size = _PAGE if left is None else min(_PAGE, left)
        found = audit.entries(size, before=before, actor=actor, act=act, text=text) if size else []
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer)
        if head is not None:
            writer.writerow(head)
            head = None
        for entry in reversed(found):
            at = datetime.fromtimestamp(entry.at, timezone.utc).isoformat(timespec="milliseconds")
            words = [guarded(each) for each in (entry.actor, entry.act, entry.detail)]
            writer.writerow([entry.id, at, *words, entry.hash])
        if buffer.tell():
            yield buffer.getvalue()
        if not found or len(found) < size:
            return
        before, left = found[0].id, None if left is None else left - len(found)
