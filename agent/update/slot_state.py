"""What the slots folder remembers besides the bundles themselves."""

from __future__ import annotations

import msgspec

from contract.messages import Order

_MAX_BANNED = 64


class TrialRecord(msgspec.Struct, frozen=True):
    """A trial under way. `tries` counts how often it was begun; it is on the disk before the candidate is loaded (OTA-4).

    `machine_boot` names the running of the machine in which it was begun last. A try that ended with the machine's own
    running is one of `resets`: lost power says nothing about a bundle, though one may reset the machine.
    """

    order: Order
    tries: int
    machine_boot: str = ""
    resets: int = 0


class Ending(msgspec.Struct, frozen=True):
    """How the last update ended, kept so that a restart reports it again. `shadowed`: as it was to, unseen; nothing is banned."""

    order: Order
    kept: bool
    reason: str = ""
    frames: int = 0
    agreed: int = 0
    shadowed: bool = False


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


def shadowed_order(last: Ending | None) -> Order | None:
    """Return the order of an update that ended as one that was to decide unseen only; None for every other ending."""
    return last.order if last is not None and last.shadowed else None


MAX_RESETS = 6
"""How often the machine may restart within a trial before that counts as tries too."""


def begun_again(trial: TrialRecord | None, order: Order, machine_boot: str) -> TrialRecord:
    """Return the record after the trial of `order` is begun once more."""
    if trial is None or trial.order != order:
        return TrialRecord(order, 1, machine_boot)
    reset = trial.machine_boot != machine_boot
    if reset and trial.resets < MAX_RESETS:
        return TrialRecord(order, max(trial.tries, 1), machine_boot, trial.resets + 1)
    return TrialRecord(order, trial.tries + 1, machine_boot, trial.resets)


def ban_of(digest: str, order: Order | None) -> tuple[str, str]:
    """Return the pair that would ban a committed bundle: what was provisioned has no deployment."""
    return digest, order.deployment if order is not None else ""


def with_ban(state: SlotState, bundle: str, deployment: str) -> SlotState:
    """Return `state` with (bundle, deployment) banned; the oldest bans go when there are too many."""
    pair = (bundle, deployment)
    kept = tuple(each for each in state.banned if each != pair)
    return msgspec.structs.replace(state, banned=(*kept, pair)[-_MAX_BANNED:])
