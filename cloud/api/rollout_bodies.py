"""What people send about rollouts."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cloud.rollout.plan import MOST_CONFIDENCE
from cloud.rollout.rollout_states import RolloutState

# No control characters: a database refuses some (PostgreSQL: zero), and a log or a table shows none of them.
_PLAIN = r"^[^\x00-\x1f\x7f]*$"
_Version = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=_PLAIN)]
_Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
_Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500, pattern=r"^[^\x00]*$")]
_Share = Annotated[float, Field(ge=0.0, le=1.0)]
_Seconds = Annotated[float, Field(ge=0.0, le=365 * 86_400.0, allow_inf_nan=False)]


class PlanBody(BaseModel):
    """What a rollout shall do otherwise than `[rollout]` of cloud.toml says; what is left out is as there."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"wave_shares": [0.1, 0.5], "soak_s": 3600.0}]}
    )

    wave_shares: tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...] | None = Field(default=None, max_length=20)
    shadow_stations: int | None = Field(default=None, ge=0, le=100_000)
    canary: int | None = Field(default=None, ge=1, le=100_000)
    strata: tuple[Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=_PLAIN)], ...] | None = Field(
        default=None, max_length=5
    )
    silence_s: Annotated[float, Field(gt=0.0, le=365 * 86_400.0, allow_inf_nan=False)] | None = None
    offline_wait_s: _Seconds | None = None
    soak_s: _Seconds | None = None
    max_failure: _Share | None = None
    confidence: Annotated[float, Field(ge=0.5, le=MOST_CONFIDENCE)] | None = None
    max_shift: _Share | None = None
    max_latency_ratio: Annotated[float, Field(gt=0.0, le=1000.0)] | None = None
    approvals: int | None = Field(default=None, ge=0, le=20)
    windows: tuple[Annotated[str, StringConstraints(min_length=1, max_length=120, pattern=_PLAIN)], ...] | None = Field(
        default=None, max_length=20
    )
    not_before: float | None = Field(default=None, ge=0.0, le=4e9, description="Unix seconds")
    cohort: Annotated[str, StringConstraints(max_length=120, pattern=_PLAIN)] | None = Field(
        default=None, description="only these stations: a cohort of [drift.cohorts], site:NAME, board:NAME or a station"
    )
    hold_on_budget: bool | None = None


class StartBody(BaseModel):
    """Roll a released version out; `version` may be an alias ("candidate")."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"version": "v2", "reason": "finds scratches on line 4"}]}
    )

    version: _Version
    reason: _Note = ""
    plan: PlanBody = PlanBody()


class RollbackBody(BaseModel):
    """Bring every station to a version that ran before, without a canary."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"version": "v1", "reason": "v2 lets dust pass"}]}
    )

    version: _Version
    reason: _Reason


class AbBody(BaseModel):
    """Hold two versions side by side: a share of the fleet gets `version`, the others keep what they run."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"version": "v2", "share": 0.5, "reason": "which is faster?"}]}
    )

    version: _Version
    share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    until: float = Field(
        default=0.0, ge=0.0, le=4e9, description="Unix seconds: then the former one is kept; 0: in a week"
    )
    reason: _Note = ""


class SeenBody(BaseModel):
    """`seen_state`: the state that the person saw when they decided; the act is refused where it is another one by now."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"seen_state": "RUNNING"}]})

    seen_state: RolloutState | None = None


class NoteBody(SeenBody):
    """A note may go with it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"note": "gate report read", "seen_state": "PROPOSED"}]})

    note: _Note = ""


class ReasonedBody(SeenBody):
    """Why a person does something, for the audit log."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "wrong lamp", "seen_state": "RUNNING"}]})

    reason: _Reason


class ConcludeBody(ReasonedBody):
    """End an A/B rollout: everybody gets `keep`, which is "a" (what ran before) or "b" (the new version)."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"keep": "b", "reason": "2 points more accurate"}]})

    keep: Annotated[str, StringConstraints(pattern="^[ab]$")]
