"""What the routes about versions take and give, with an example of each for the OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from cloud.rollout.version_states import VersionStage

VersionName = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$", description="a version, or an alias", examples=["champion"])
]
AliasName = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,39}$", examples=["line-3"])]

_LISTED: dict[str, Any] = {
    "version": "v2.r3",
    "digest": "9b0c" + "0" * 60,
    "size_bytes": 412_310,
    "created_at": 1_795_200_000.0,
    "release_counter": 0,
    "stage": "CHAMPION",
    "stage_by": "eva",
    "stage_why": "a rollout of it ended well",
    "stage_at": 1_795_203_600.0,
    "aliases": ["champion"],
    "gate": {"passed": True, "failed": [], "checks": 17, "accuracy": 0.981, "median_ms": 1.9},
    "stations": 12,
    "disk_bytes": 1_820_144,
    "simulated": False,
}


class GateTold(BaseModel):
    """The gate's word in short. `failed`: names of the checks that did not hold."""

    passed: bool
    failed: list[str]
    checks: int
    accuracy: float
    median_ms: float


class VersionListed(BaseModel):
    """A released version. Times are Unix seconds; `stations` is how many say that they run it; `gate` is null without a report."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LISTED]})

    version: str
    digest: str
    size_bytes: int
    created_at: float
    release_counter: int
    stage: VersionStage
    stage_by: str
    stage_why: str
    stage_at: float
    aliases: list[str]
    gate: GateTold | None
    stations: int
    disk_bytes: int
    simulated: bool


class CheckTold(BaseModel):
    """One check of the gate: whether it held, a sentence, and its figures."""

    name: str
    passed: bool
    sentence: str
    figures: dict[str, float]


class LineageNode(BaseModel):
    """Something that a version came from or went to."""

    id: str
    kind: str
    text: str
    detail: str


class VersionTold(VersionListed):
    """All that is known of a version. `card` is Markdown; `needed` says why its files stay; `gaps` what is not known."""

    released_by: str
    stations_named: list[str]
    checks: list[CheckTold]
    card: str
    lineage: list[LineageNode]
    edges: list[tuple[str, str]]
    hashes: dict[str, str]
    files: dict[str, str]
    rollouts: list[tuple[int, str]]
    needed: list[str]
    gaps: list[str]


class RetireBody(BaseModel):
    """Why a version is retired; `safe`: why that may be though stations run it, or may go back to it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "it misses dents on press 2", "safe": ""}]}
    )

    reason: str = Field(min_length=1, max_length=500)
    safe: str = Field(default="", max_length=500)


class UnretireBody(BaseModel):
    """Why a version may be rolled out again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "the lens was it"}]})

    reason: str = Field(min_length=1, max_length=500)


class AliasBody(BaseModel):
    """What an alias shall mean; `was`: what it meant as far as you know ("" for nothing), null not to check."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"version": "v2.r3", "reason": "line 3 is dusty", "was": "v2"}]}
    )

    version: str = Field(min_length=1, max_length=80)
    reason: str = Field(default="", max_length=500)
    was: str | None = Field(default=None, max_length=80)


class AliasTold(BaseModel):
    """What an alias means, and who set it when."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"alias": "line-3", "version": "v2.r3", "actor": "eva", "at": 1_795_200_000.0}]}
    )

    alias: str
    version: str
    actor: str
    at: float


class StageTold(BaseModel):
    """Where a version stands now."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": "v1", "stage": "RETIRED"}]})

    version: str
    stage: VersionStage
