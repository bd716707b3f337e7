"""Gap records that wait in the outbox, signed anew when the station got another token (`contract.gaps`)."""

from __future__ import annotations

import hashlib
import sqlite3

from agent.store.database import transaction
from agent.store.memory import put_fact
from agent.store.outbox_row import NEVER, SENT_OTHERWISE, Signer, read_row, rewrite
from contract.codec import decode_summary
from contract.errors import BadMessage
from contract.gaps import is_gap_signed

_FACT = "gap_key_sha256"


def sign_anew(connection: sqlite3.Connection, signer: Signer) -> int:
    """Sign the waiting gap records with the signer's key if it is another than at the last call; return how many.

    The cloud knows a station's present token alone, and would take an honest station's older records for forged. Where one was
    sent already, the cloud may have it under its name with the old signature: its own, so it is not told twice.

    Raises:
        sqlite3.Error: nothing was changed.
    """
    if signer.key is None:
        return 0
    mark = hashlib.sha256(signer.key).hexdigest()
    known = connection.execute("SELECT value FROM memory WHERE name = ?", (_FACT,)).fetchone()
    if known is not None and known[0] == mark:
        return 0
    signed = 0
    with transaction(connection):
        for (row_id,) in connection.execute("SELECT id FROM outbox ORDER BY id").fetchall():
            row = read_row(connection, row_id)
            if row is None or not row.sound():
                continue  # it becomes a gap record when it is sent, by this key
            try:
                summary = decode_summary(row.payload)
            except BadMessage:
                continue
            if summary.gap is None or is_gap_signed(summary, signer.key):
                continue
            sent = NEVER if row.sent == NEVER else SENT_OTHERWISE
            rewrite(connection, row.id, signer.sign(summary), sent=sent, window=row.window)
            signed += 1
        put_fact(connection, _FACT, mark)
    return signed
