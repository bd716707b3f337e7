"""What is asked of the fleet, and what is known of each station in a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from contract.update_states import UpdateState

MOST_ROWS = 500
ENDED_UPDATES = (UpdateState.IDLE.value, UpdateState.COMMITTED.value, UpdateState.ROLLED_BACK.value, "")


class LinkState(str, Enum):
    """Whether a station is there.

    HTTP: the broker does not reach it, and it asks over HTTP for what it needs. HTTP_ALONE: so does it, and it was added long ago,
    and the broker never reached it. NEVER: it was added and has not said a word. REVOKED: its access was taken away, and it is
    not on the broker: nobody waits for it.
    """

    ONLINE = "online"
    OFFLINE = "offline"
    HTTP = "by HTTP"
    HTTP_ALONE = "by HTTP, never by MQTT"
    NEVER = "never heard"
    REVOKED = "revoked"


class DriftPhase(str, Enum):
    """How a station's cameras stand; of several the worst. The values are what people read.

    ENROLLING: what is normal is being learnt, or the station is new. UNHEARD: it was added long ago and was never heard by MQTT,
    which alone brings windows: nothing is being learnt, and nothing will be until somebody looks. REVOKED: its access was
    taken away; whatever its cameras last saw, nobody need do anything.
    """

    ALARMED = "drifting"
    ENROLLING = "enrolling"
    UNHEARD = "never heard"
    QUIET = "in range"
    REVOKED = "revoked"


class SortBy(str, Enum):
    """What stations are sorted by; ties go by name."""

    NAME = "station"
    SITE = "site"
    BOARD = "board"
    LINK = "link"
    DRIFT = "drift"
    MODEL = "model"
    UPDATE = "update"
    FRAMES = "frames"
    REJECT = "reject"
    REVIEW = "review"
    MISSING = "missing"
    HEARD = "heard"


@dataclass(frozen=True, slots=True)
class Phases:
    """Which stations drift, and which are within their range, as the detectors have it in memory; all others are enrolling, but for
    those that were added before `unheard_before`, Unix seconds, and never heard by MQTT.

    Of those that are `revoked` nothing else counts. `by_http`: who was heard over HTTP of late, as the server has it in memory;
    `asked`: who was at all since it began.
    """

    alarmed: frozenset[str] = frozenset()
    quiet: frozenset[str] = frozenset()
    unheard_before: float = 0.0
    revoked: frozenset[str] = frozenset()
    by_http: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()

    def of(self, station: str, *, unheard: bool = False) -> DriftPhase:
        """Return a station's phase; `unheard`: it was added before `unheard_before` and never heard by MQTT."""
        if station in self.revoked:
            return DriftPhase.REVOKED
        if station in self.alarmed:
            return DriftPhase.ALARMED
        if station in self.quiet:
            return DriftPhase.QUIET
        return DriftPhase.UNHEARD if unheard else DriftPhase.ENROLLING


@dataclass(frozen=True, slots=True)
class FleetFilter:
    """Which stations are meant: those that are all of what is given. `text` is in their name or site, in any case.

    `update` is a state of `contract.update_states`, or "under way". `among`: these stations alone (those that need somebody).
    """

    text: str = ""
    site: str | None = None
    board: str | None = None
    link: LinkState | None = None
    drift: DriftPhase | None = None
    bundle: str | None = None
    update: str | None = None
    simulated: bool | None = None
    among: frozenset[str] | None = None


UNDER_WAY = "under way"


@dataclass(frozen=True, slots=True)
class FleetRow:
    """A station in a list. Times are Unix seconds, 0 for never: `heard_at` when its newest summary or report came. `health` is
    `contract.messages.HealthNote` as JSON, or "".
    """

    station: str
    site: str
    board: str
    link: LinkState
    drift: DriftPhase
    simulated: bool
    bundle: str
    update_state: str
    outcome: str
    reason: str
    state_at: float
    summary_at: float
    heard_at: float
    captured: int
    passed: int
    rejected: int
    review: int
    missing: int
    health: str


@dataclass(frozen=True, slots=True)
class FleetPage:
    """Some rows, and how many there are in all."""

    rows: Sequence[FleetRow]
    total: int


@dataclass(frozen=True, slots=True)
class FleetCounts:
    """How many stations there are, and are what. `updating`: an update is under way; `rolled_back`: the last one failed.

    `never`: not a word was heard of them; those of them that are `new` count as `enrolling`. `unheard` were added long ago and
    never heard by MQTT. `by_http` and `http_alone` (never by MQTT) are neither `online` nor `offline`; those `revoked` are none of
    these but for `online`, and none of `drifting`, `enrolling` and `unheard`.
    """

    total: int
    online: int
    offline: int
    never: int
    drifting: int
    enrolling: int
    updating: int
    rolled_back: int
    simulated: int
    unheard: int
    by_http: int = 0
    revoked: int = 0
    http_alone: int = 0
    new: int = 0


@dataclass(frozen=True, slots=True)
class FleetFacets:
    """What there is to filter by: each with how many stations have it."""

    sites: dict[str, int]
    boards: dict[str, int]
    bundles: dict[str, int]
    updates: dict[str, int]


@dataclass(frozen=True, slots=True)
class FleetCell:
    """A station on the map of the fleet."""

    station: str
    site: str
    link: LinkState
    drift: DriftPhase
    update_state: str
