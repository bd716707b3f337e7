"""How late the image repository is. Pure: when each role's metadata expires and what time it is in; a judgement out.

Online roles (snapshot, timestamp) are signed by the server itself at half their life; with a third of it left, something has
gone wrong for hours. Offline roles (root, targets) need people with keys from a safe, so they are told weeks before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

LIFETIMES_DAYS: Mapping[str, float] = {"root": 730, "targets": 365, "snapshot": 14, "timestamp": 3}
_DAY_S = 86_400.0
_DUE_SHARE = 1 / 2
_LATE_SHARE = 1 / 3
_OFFLINE_DUE_DAYS = 60.0
_OFFLINE_LATE_DAYS = 30.0
_OFFLINE = ("root", "targets")


class Lateness(str, Enum):
    """OK: nothing to do. DUE: it is time to sign. LATE: somebody must see to it. EXPIRED: stations take no update."""

    OK = "ok"
    DUE = "due"
    LATE = "late"
    EXPIRED = "expired"


_ORDER = tuple(Lateness)


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """How one role stands; `sentence` is for a person."""

    role: str
    state: Lateness
    expires_at: float
    sentence: str


@dataclass(frozen=True, slots=True)
class ResignStatus:
    """How the repository stands: the worst of its roles, each role, and why the last attempt to sign failed ("": it did not)."""

    state: Lateness
    roles: tuple[RoleStatus, ...]
    failure: str = ""

    @property
    def late(self) -> bool:
        """Whether somebody must see to it."""
        return self.state in (Lateness.LATE, Lateness.EXPIRED)

    def in_words(self) -> str:
        """Return what somebody must see to, "" where nobody must."""
        if not self.late:
            return ""
        failed = f"The image repository could not be signed again: {self.failure}." if self.failure else ""
        wrong = [each.sentence for each in self.roles if each.state in (Lateness.LATE, Lateness.EXPIRED)]
        return " ".join(filter(None, (failed, *wrong)))


def resign_status(expires_at: Mapping[str, float], now: float, failure: str = "") -> ResignStatus:
    """Return how late a repository is.

    Args:
        expires_at: role -> when its metadata expires, Unix seconds.
        now: Unix seconds.
        failure: why the last attempt to sign failed; "" when it did not. A failure is late at once: it will not mend itself.
    """
    roles = tuple(_role_status(role, at, now) for role, at in expires_at.items())
    worst = max((each.state for each in roles), key=_ORDER.index, default=Lateness.OK)
    if failure:
        worst = max(worst, Lateness.LATE, key=_ORDER.index)
    return ResignStatus(worst, roles, failure)


def half_over(role: str, expires_at: float, now: float) -> bool:
    """Return whether half a role's life is over: the time to sign an online one again."""
    return expires_at - now < LIFETIMES_DAYS[role] * _DAY_S * _DUE_SHARE


def _role_status(role: str, at: float, now: float) -> RoleStatus:
    left = at - now
    if left <= 0:
        state = Lateness.EXPIRED
    elif role in _OFFLINE:
        state = _judge(left / _DAY_S, _OFFLINE_DUE_DAYS, _OFFLINE_LATE_DAYS)
    else:
        life = LIFETIMES_DAYS[role] * _DAY_S
        state = _judge(left / life, _DUE_SHARE, _LATE_SHARE)
    return RoleStatus(role, state, at, _in_words(role, state, left))


def _judge(left: float, due: float, late: float) -> Lateness:
    if left < late:
        return Lateness.LATE
    return Lateness.DUE if left < due else Lateness.OK


def _in_words(role: str, state: Lateness, left: float) -> str:
    if state is Lateness.EXPIRED:
        since = f"The repository's {role} metadata expired {_span(-left)} ago: stations take no update."
    else:
        since = f"The repository's {role} metadata expires in {_span(left)}."
    if state is Lateness.OK:
        return since
    if role in _OFFLINE:
        return f"{since} Its keys' holders must sign: plumbline-cloud keys renew {role}."
    if state is Lateness.DUE:
        return f"{since} The server signs it within the hour."
    return f"{since} The server should have signed it long ago: see its log for 'resign', and that the {role} key is there."


def _span(seconds: float) -> str:
    for size, name in ((_DAY_S, "d"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= size * 2:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
