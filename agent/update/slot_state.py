"""What the slots folder remembers besides the bundles themselves."""

from __future__ import annotations

import msgspec

from contract.messages import Order

_MAX_BANNED = 64


class TrialRecord(msgspec.Struct, frozen=True):
    """A trial under way. `tries` counts how often it was begun; it is on the disk before the candidate is loaded (OTA-4)."""

    order: Order
    tries: int


class Ending(msgspec.Struct, frozen=True):
    """How the last update ended, kept so that a restart reports it again."""

    order: Order
    kept: bool
    reason: str = ""
    frames: int = 0
    agreed: int = 0


class SlotState(msgspec.Struct, frozen=True):
    """The state file. What is committed is not in it but in a mark per slot, so that losing this file loses no bundle (OTA-5)."""

    trial: TrialRecord | None = None
    banned: tuple[tuple[str, str], ...] = ()
    last: Ending | None = None


class CommitMark(msgspec.Struct, frozen=True):
    """Says that a slot's bundle was committed, as the `number`-th commit here; `digest` "": that nothing shall run.

    `order` is None for a provisioned bundle.
    """

    digest: str
    number: int
    order: Order | None = None


def ban_of(digest: str, order: Order | None) -> tuple[str, str]:
    """Return the pair that would ban a committed bundle: what was provisioned has no deployment."""
    return digest, order.deployment if order is not None else ""


def with_ban(state: SlotState, bundle: str, deployment: str) -> SlotState:
    """Return `state` with (bundle, deployment) banned; the oldest bans go when there are too many."""
    pair = (bundle, deployment)
    kept = tuple(each for each in state.banned if each != pair)
    return msgspec.structs.replace(state, banned=(*kept, pair)[-_MAX_BANNED:])
