"""What is known of the fleet and the server at one moment, as plain values: what needs, pages and alerts are told from.

Nothing here reads a table or a clock (`cloud.fleet_facts` does).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cloud.ports.alarms import Alarm, Retrain
from cloud.ports.promises import Budget
from cloud.ports.rollouts import Rollout
from cloud.ports.stations import StationStatus


@dataclass(frozen=True, slots=True)
class StationTrouble:
    """What the tables know of one station beside its status, where that is something to look at.

    `ahead_s`: how far its clock is ahead of the cloud's (negative: behind), 0 where it is right or cannot be told. `gaps`: how
    often within the last day it said that it lost data for good.
    """

    station: str
    ahead_s: float = 0.0
    gaps: int = 0


@dataclass(frozen=True, slots=True)
class RolloutFact:
    """A rollout that is under way, or ended within the last day. `by_itself`: no person stopped it.

    `unanswered` stations of the wave at hand were ordered and have not said how it went; `failed` say it went wrong; `recalled`
    were ordered back and have not said so yet. `approvals` are still asked for.
    """

    rollout: Rollout
    by_itself: bool = False
    unanswered: int = 0
    failed: int = 0
    approvals: int = 0
    recalled: int = 0


@dataclass(frozen=True, slots=True)
class SigningFact:
    """That the image repository, of which stations take updates, has to be signed. `sentence` says what to do."""

    expired: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class CertificateFact:
    """A certificate that ends soon and that no newer one of the same name stands in for. `kind`: station, server, api or cloud."""

    kind: str
    subject: str
    not_after: float


@dataclass(frozen=True, slots=True)
class DiskFact:
    """The disk that something of the server is on; `what` says what ("the cloud's home")."""

    what: str
    free_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Facts:
    """One moment. Times are Unix seconds by the cloud's clock.

    `listening_since`: since when the broker is reached without a break; None while it is not, which it is not since `deaf_since`.
    `retired`: stations whose access was taken away: nobody waits for them. `alarms` are those that are open, `retrains` those that
    failed and that nothing took the place of since. `broken_entry`: the first entry of the audit log that does not follow from the
    one before. `known_silent`: stations that people were told are silent: they stay so until they are heard, whoever restarts
    meanwhile. `undelivered`: notices that a channel did not take for an hour, or refused, by channel. `faults`: what broke in a
    loop within the last hour, by loop. `lost_database`: why nothing can be stored, "" while it can. `heard_by_http`: when
    stations last asked for orders that way, with a token of their own.
    """

    now: float
    silent_after_s: float = 1800.0
    listening_since: float | None = 0.0
    deaf_since: float = 0.0
    stations: Sequence[StationStatus] = ()
    retired: frozenset[str] = frozenset()
    troubles: Sequence[StationTrouble] = ()
    strangers: Sequence[str] = ()
    alarms: Sequence[Alarm] = ()
    rollouts: Sequence[RolloutFact] = ()
    retrains: Sequence[Retrain] = ()
    budgets: Sequence[Budget] = ()
    waiting: int = 0
    disputed: int = 0
    dead_letters: int = 0
    signing: SigningFact | None = None
    certificates: Sequence[CertificateFact] = ()
    disks: Sequence[DiskFact] = ()
    broken_entry: int | None = None
    known_silent: frozenset[str] = frozenset()
    undelivered: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    lost_database: str = ""
    heard_by_http: Mapping[str, float] = field(default_factory=dict)
