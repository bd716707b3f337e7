"""Replacing the order key: a statement of the new keys, signed by the keys that stations know so far (DESIGN 6).

It goes to every station beside its orders (`DesiredState.order_keys`) for good, since a station may have been away for years.
So it is signed by every earlier order key that is still here: a station that slept through three rotations knows only the
first key, and follows all the same. The version tells a station which of two statements is newer.

Stations follow it only where the release keys vouch for it too, or whoever once had the order key would have the stations for
good. So a rotation is prepared, vouched for, and only then in force: orders are signed by the old key until then.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from cloud.registry.durable_file import write_durably
from cloud.registry.keys import ORDER, ORDER_KEY_FILE, ORDER_RECORD_FILE, Keys, OrderRecord, new_keys
from cloud.registry.tuf_repository import TufRepository
from contract.errors import BadBundle
from contract.messages import OrderKeys
from contract.signature import sign_order_keys

NEXT_FILE = "order_keys.next.json"
"""An OrderRecord that waits to be vouched for."""


def standing_order_keys(keys: Keys) -> str:
    """Return the envelope of OrderKeys for `DesiredState.order_keys`; "" when the order key was never replaced."""
    return keys.order.envelope if keys.order else ""


def rotate_order_key(keys: Keys, now: float, *, revoke: bool) -> Keys:
    """Make a new order key, let it sign from now on, and return the keys as they are then; nobody vouches for it yet.

    Killed at any moment, the old key signs or the new one does, and the rotation can be repeated.

    Args:
        now: Unix seconds.
        revoke: the keys so far count no more; else what they signed stays good.
    Raises:
        NotFound: the order key is not here.
        StorageFull: the folder cannot be written.
    """
    return _put_in_force(*_prepare(keys, now, revoke=revoke))


def rotate_vouched(repository: TufRepository, keys: Keys, now: float, *, revoke: bool) -> Keys | None:
    """Rotate the order key once the release keys vouch for the new one; return the keys then, None while that waits.

    What waits is `TufRepository.pending`; when it is published, calling this again with the same `revoke` goes on where it
    stopped, with the same new key. Killed at any moment, it can be repeated.

    Raises:
        NotFound: the repository or the order key is not here.
        StorageFull: a folder cannot be written.
    """
    path = keys.folder / NEXT_FILE
    record = _waiting(path)
    if record is not None and record.version == (keys.order.version if keys.order else 0) + 1:
        again = (len(record.keys) == 1) == revoke
    else:
        again = False
    if record is None or not again:
        keys, record = _prepare(keys, now, revoke=revoke)
        write_durably(path, (msgspec.json.encode(record) + b"\n",), mode=0o600)
    if not repository.publish_order_keys(record.version, record.envelope.encode(), now):
        return None
    after = _put_in_force(keys, record)
    path.unlink(missing_ok=True)
    return after


def _waiting(path: Path) -> OrderRecord | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=OrderRecord)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, ValueError) as error:
        raise BadBundle(f"'{path}' is damaged: {error}", hint="delete it and rotate again") from error


def _prepare(keys: Keys, now: float, *, revoke: bool) -> tuple[Keys, OrderRecord]:
    """Make the key; return it with the others, and what would be in force."""
    before = keys.order_key()
    past = keys.order.past if keys.order else ()
    standing = {key.keyid: key.public for key in keys.order_keys()}
    (made,) = new_keys(keys, ORDER, 1, {*standing, *past})
    counted = {made.keyid: made.public} | ({} if revoke else standing)
    statement = OrderKeys(version=(keys.order.version if keys.order else 0) + 1, keys=counted, issued_at=now)
    known = [key for key in keys.of(ORDER) if key.keyid in {*standing, *past}]
    # The key that signed until now comes first.
    known.sort(key=lambda key: (key.keyid != before.keyid, -key.number))
    # The new key signs too: a station that is added from now on pins it, and is given the statement like every other.
    envelopes = [sign_order_keys(statement, key.signer) for key in (*known, made)]
    record = OrderRecord(
        version=statement.version,
        current=made.keyid,
        keys=counted,
        envelope=_merged(envelopes),
        past=(*past, *(keyid for keyid in standing if keyid not in counted)),
    )
    held = {key.keyid: key for key in (*keys.held, made)}
    return replace(keys, held=tuple(held.values())), record


def _put_in_force(keys: Keys, record: OrderRecord) -> Keys:
    write_durably(keys.folder / ORDER_RECORD_FILE, (msgspec.json.encode(record) + b"\n",), mode=0o600)
    after = replace(keys, order=record)
    write_durably(keys.folder / ORDER_KEY_FILE, (msgspec.json.encode(after.order_key()) + b"\n",))
    return after


def _merged(envelopes: list[str]) -> str:
    """Return one DSSE envelope with the signatures of all; their payloads are the same bytes."""
    opened = [msgspec.json.decode(each) for each in envelopes]
    opened[0]["signatures"] = [signature for each in opened for signature in each["signatures"]]
    return msgspec.json.encode(opened[0]).decode()
