"""What the frame loop and the update loop say to each other about bundles."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
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
    """A candidate to be served on probation: unseen beside the incumbent, then in charge."""

    bundle: InstalledBundle
    deployment: str
    probation: Probation


class TrialPhase(Enum):
    """How far a trial is: LOADING, deciding UNSEEN beside the incumbent, deciding IN_CHARGE."""

    LOADING = "loading"
    UNSEEN = "unseen"
    IN_CHARGE = "in charge"


@dataclass(frozen=True, slots=True)
class TrialNews:
    """A sign of life of a trial under way: it may still take `left_s`, with no word for as long."""

    deployment: str
    bundle: str
    phase: TrialPhase
    left_s: float
    frames: int
    agreed: int


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """How a trial ended. `reason` is "" when `kept` or `shadowed`; otherwise what was wrong, in words for a person.

    `shadowed`: the candidate was to decide unseen only, did what was asked, and is put away.
    """

    deployment: str
    bundle: str
    kept: bool
    reason: str
    frames: int
    agreed: int
    shadowed: bool = False


class BundleSwitch(Protocol):
    """Between the update loop (which installs) and the frame loop (which serves). Thread-safe."""

    def offer(self, trial: Trial) -> None:
        """Update loop: ask the frame loop to take this trial up at its next frame boundary."""

    def next_trial(self) -> Trial | None:
        """Frame loop: return a trial offered and not yet taken up, once."""

    def tell(self, news: TrialNews) -> None:
        """Frame loop: say how the trial under way stands; the newest replaces what was not yet seen."""

    def news(self) -> TrialNews | None:
        """Update loop: return the newest news not yet seen. A trial's are told before its outcome."""

    def conclude(self, outcome: TrialOutcome) -> None:
        """Frame loop: say how the trial ended."""

    def next_outcome(self, within_s: float) -> TrialOutcome | None:
        """Update loop: return an outcome concluded and not yet seen, waiting at most `within_s`."""

    def judged_by(self, digest: str) -> None:
        """Frame loop: say which bundle is in charge, "" for none. Told at every change, and not while another one loads."""

    def judge(self) -> str | None:
        """Update loop: return which bundle is in charge, "" for none; None while that is changing, or not known yet."""

    def recall(self, bundle: InstalledBundle | None) -> None:
        """Update loop: end whatever trial there is, and put `bundle` in charge; None: nothing."""

    def next_recall(self) -> tuple[InstalledBundle | None] | None:
        """Frame loop: return what was recalled to and not yet heeded, once, the latest; None when nothing was."""

    def withdraw(self, deployment: str, bundle: str) -> None:
        """Update loop: say that this trial is given up, whatever it has come to: its bundle must be in charge no more."""

    def next_withdrawn(self) -> tuple[str, str] | None:
        """Frame loop: return the (deployment, bundle) of a trial withdrawn and not yet heeded, once."""
