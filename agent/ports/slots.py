"""What the frame loop and the update loop say to each other about bundles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol

from contract.manifest import Manifest
from contract.messages import Probation


@dataclass(frozen=True, slots=True)
class InstalledBundle:
    """A verified bundle unpacked in a slot. `digest` is the archive's SHA-256; `folder` holds manifest.json and its files."""

    digest: str
    folder: PurePath
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate to be served on probation beside the incumbent."""

    bundle: InstalledBundle
    deployment: str
    probation: Probation


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """How a trial ended. `reason` is "" when `kept`; otherwise what was wrong, in words for a person."""

    deployment: str
    bundle: str
    kept: bool
    reason: str
    frames: int
    agreed: int


class BundleSwitch(Protocol):
    """Between the update loop (which installs) and the frame loop (which serves). Thread-safe."""

    def offer(self, trial: Trial) -> None:
        """Update loop: ask the frame loop to take this trial up at its next frame boundary."""

    def next_trial(self) -> Trial | None:
        """Frame loop: return a trial offered and not yet taken up, once."""

    def conclude(self, outcome: TrialOutcome) -> None:
        """Frame loop: say how the trial ended."""

    def next_outcome(self, within_s: float) -> TrialOutcome | None:
        """Update loop: return an outcome concluded and not yet seen, waiting at most `within_s`."""

    def recall(self, bundle: InstalledBundle | None) -> None:
        """Update loop: end whatever trial there is, without an outcome, and put `bundle` in charge; None: nothing."""

    def next_recall(self) -> tuple[InstalledBundle | None] | None:
        """Frame loop: return what was recalled to and not yet taken up, once, the latest; None when nothing was."""
