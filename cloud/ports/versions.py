"""Where versions stand and what needs their bundles, as tables and pages exchange it."""

from __future__ import annotations

from dataclasses import dataclass

from cloud.rollout.version_states import VersionStage


@dataclass(frozen=True, slots=True)
class StageOf:
    """Where a version stands, and whose act or what event put it there when, Unix seconds."""

    version: str
    stage: VersionStage
    actor: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class AliasOf:
    """A name by which a version is meant, and who set it when, Unix seconds."""

    alias: str
    version: str
    actor: str
    at: float


@dataclass(frozen=True, slots=True)
class BundleUse:
    """Why a bundle must stay: `bundle` is its SHA-256, `why` says it to a person.

    `running`: it is what a station runs, is told to run or tries, or a rollout that is under way brings; else it may be gone
    back to, or a kit on its way has it.
    """

    bundle: str
    why: str
    running: bool
