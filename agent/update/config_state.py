"""What a station remembers of its remote settings, and how each event changes it. Pure."""

from __future__ import annotations

import msgspec

from agent.update.config_health import Vitals
from contract.config_states import settings_digest
from contract.messages import ConfigOrder

_MAX_BANNED = 64


class ConfigTrial(msgspec.Struct, frozen=True):
    """Settings on trial. `tries` counts the starts with them, on the disk before the start (OTA-4).

    `before` is how the station was, shortly before it was first started with them.
    """

    order: ConfigOrder
    before: Vitals
    tries: int = 0


class ConfigEnding(msgspec.Struct, frozen=True):
    """How the last change ended, kept so that a restart reports it again."""

    order: ConfigOrder
    kept: bool
    reason: str = ""


class ConfigMemory(msgspec.Struct, frozen=True):
    """The state file. What is in force is not in it, so that losing this file loses no settings (OTA-5)."""

    trial: ConfigTrial | None = None
    banned: tuple[tuple[str, str], ...] = ()
    last: ConfigEnding | None = None


class InForce(msgspec.Struct, frozen=True):
    """The order whose settings were committed last, None before the first. In two copies, as the floors are."""

    order: ConfigOrder | None = None


class ConfigFloor(msgspec.Struct, frozen=True):
    """The least that is ever again accepted: `config_seq` of the last change that ended.

    No time: settings are signed by the order key alone, and one order of the year 9999 would make every later one expired.
    """

    config_seq: int = 0


def ban_of(order: ConfigOrder) -> tuple[str, str]:
    """Return what is banned when `order` fails: (settings digest, deployment)."""
    return settings_digest(order.settings), order.deployment


def with_trial(memory: ConfigMemory, order: ConfigOrder, before: Vitals) -> ConfigMemory:
    """Return `memory` with `order` about to be tried; starts that were counted for this very order stay counted."""
    tries = memory.trial.tries if memory.trial is not None and memory.trial.order == order else 0
    return msgspec.structs.replace(memory, trial=ConfigTrial(order, before, tries))


def with_try(memory: ConfigMemory) -> ConfigMemory:
    """Return `memory` with one more start counted; the same when nothing is on trial."""
    trial = memory.trial
    if trial is None:
        return memory
    return msgspec.structs.replace(memory, trial=msgspec.structs.replace(trial, tries=trial.tries + 1))


def with_ending(memory: ConfigMemory, ending: ConfigEnding) -> ConfigMemory:
    """Return `memory` after a change ended: what failed is banned, and the oldest bans go when there are too many."""
    banned = memory.banned
    if not ending.kept:
        pair = ban_of(ending.order)
        banned = (*(each for each in banned if each != pair), pair)[-_MAX_BANNED:]
    return ConfigMemory(None, banned, ending)


def raised(floor: ConfigFloor, order: ConfigOrder) -> ConfigFloor:
    """Return `floor` after `order` ended, kept or not: one that failed is never offered again under its number."""
    return ConfigFloor(max(floor.config_seq, order.config_seq))
