"""Which keys may order this station about, and how they are replaced. Pure (P3).

The keys pinned at provisioning are the start. New ones (`contract.messages.OrderKeys`) count when one that counts so far signed
them: whoever holds the image keys alone changes nothing here, and a key that was taken out signs nothing any more, not even
its own return.

An order key alone replaces nothing either (`check_vouched`): whoever had it once could name his own key only, and no revocation
of the owner's would be followed any more. The image repository must list the replacement. What a thief of an order key can do
until it is revoked is to order what the release keys vouch for, or nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import msgspec

from agent.update.trusted_target import TrustedTarget
from contract.errors import BadOrder
from contract.signature import OrderKey, verify_order_keys

MAX_KEYS = 8
MAX_VERSION_STEP = 1000
_PUBLIC = re.compile(r"[0-9a-f]{64}")


class OrderKeyRing(msgspec.Struct, frozen=True):
    """The keys that count now.

    `version` is that of the last replacement, 0 for none; `envelope` its SHA-256, to know it when it is delivered again;
    `pinned` what was pinned then: a station that is provisioned anew starts anew.
    """

    keys: tuple[OrderKey, ...]
    version: int = 0
    envelope: str = ""
    pinned: tuple[OrderKey, ...] = ()


def pinned_ring(pinned: Sequence[OrderKey]) -> OrderKeyRing:
    """Return the ring of a station that knows nothing but what it was provisioned with."""
    return OrderKeyRing(tuple(pinned), pinned=tuple(pinned))


def accept(ring: OrderKeyRing, envelope: str) -> OrderKeyRing:
    """Return the ring after `envelope` (signed OrderKeys); the same ring when it was accepted before.

    Raises:
        BadOrder: no key of `ring` signed it, it is not newer than the last one or far newer, or it holds no keys that could be
            used.
    """
    name = hashlib.sha256(envelope.encode(errors="surrogatepass")).hexdigest()
    if name == ring.envelope:
        return ring  # retained: delivered again at every connection, when its signer may be long gone
    replaced = verify_order_keys(envelope, ring.keys)
    if replaced.version == ring.version and replaced.keys == {key.keyid: key.public for key in ring.keys}:
        return ring  # the same statement, signed by more keys
    if replaced.version <= ring.version:
        raise BadOrder(
            f"order keys of version {replaced.version} are not newer than {ring.version}", hint="replayed, or outdated"
        )
    if replaced.version > ring.version + MAX_VERSION_STEP:
        raise BadOrder(
            f"order keys of version {replaced.version} are {replaced.version - ring.version} ahead of the last ones",
            hint="no cloud counts like that: is its key in other hands?",
        )
    if not 1 <= len(replaced.keys) <= MAX_KEYS:
        raise BadOrder(f"{len(replaced.keys)} order keys", hint=f"sign 1 to {MAX_KEYS}")
    for keyid, public in replaced.keys.items():
        if not keyid or _PUBLIC.fullmatch(public) is None:
            # Taken, it would leave nobody who could ever give an order here again.
            raise BadOrder(f"order key '{keyid[:80]}' is no Ed25519 key in lower-case hex")
    keys = tuple(OrderKey(keyid, public) for keyid, public in sorted(replaced.keys.items()))
    return OrderKeyRing(keys, replaced.version, name, ring.pinned)


def check_vouched(ring: OrderKeyRing, target: TrustedTarget | None) -> None:
    """Check that the image side vouches for the replacement that `ring` is after.

    Args:
        target: what the repository lists as `contract.order_keys_target` of the ring's version; None where it lists none.
    Raises:
        BadOrder: it does not.
    """
    if target is None or target.digest != ring.envelope:
        raise BadOrder(
            f"the release keys do not vouch for order keys of version {ring.version}",
            hint="plumbline-cloud keys rotate order, with the targets key or what is then pending signed",
        )


def renewed(ring: OrderKeyRing, envelope: str) -> OrderKeyRing:
    """Return the ring after `envelope` where it is there and to be followed; else `ring`, which is then what counts.

    Whether the image side vouches for it is still to be asked. An envelope that does not hold is no fault of the order beside it:
    that one is judged by the keys that count.
    """
    try:
        return accept(ring, envelope) if envelope else ring
    except BadOrder:
        return ring
