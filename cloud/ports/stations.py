"""Stations, as the loops see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from contract.messages import HealthNote


@dataclass(frozen=True, slots=True)
class StationStatus:
    """A station as the cloud last heard of it.

    Times are by the cloud's clock, Unix seconds, 0 for never: `state_at` when it last came or went, `reported_at` its last
    report, `summary_at` its last summary. `configuration`, `config_*` and `outcome` are as in its report, `board` as in its birth,
    and `health` as in its last summary that had one (`contract.messages`). `asked_at`: when it last asked over HTTP,
    where that is what `online` and `state_at` are of, for the broker does not reach it (`cloud.heard_by_http`); no table has it.
    """

    station: str
    site: str
    boot: str
    online: bool
    state_at: float
    agent_version: str
    simulated: bool
    bundle: str
    update_state: str
    deployment: str
    candidate: str
    reason: str
    desired_seq: int
    reported_at: float
    summary_at: float
    configuration: str = ""
    config_state: str = ""
    config_deployment: str = ""
    config_reason: str = ""
    config_seq: int = 0
    board: str = ""
    health: HealthNote | None = None
    outcome: str = ""
    asked_at: float = 0.0


class StationBook(Protocol):
    """Every station that was added."""

    def names(self) -> list[str]:
        """Return their names."""

    def status(self) -> list[StationStatus]:
        """Return each one's status, by name."""

    def retired(self) -> frozenset[str]:
        """Return those whose access was taken away."""
