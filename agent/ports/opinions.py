"""Second opinions after the verdict: frames that wait for one, and who is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.decide.opinions import Gone
from contract.decode import Prediction
from contract.manifest import Label
from contract.messages import Verdict


@dataclass(frozen=True, slots=True)
class Waiting:
    """A frame to ask about. `bundle` judged it as `label`; `unsure`: it was, else its answer was void for drift."""

    id: int
    sample: str
    bundle: str
    label: str
    unsure: bool
    tries: int


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the cloud's model said; `verdict` by the thresholds of the bundle that had judged, `agreed`: on the label."""

    prediction: Prediction
    verdict: Verdict
    agreed: bool
    model: str


class OpinionQueue(Protocol):
    """Frames that wait, durable. A frame leaves by `answered` or `gone`, once; every call may raise TransientError."""

    def next_due(self, now: float) -> Waiting | None:
        """Return the oldest frame that may be asked about at `now` (Unix seconds), or None."""

    def answered(self, waiting: Waiting, opinion: Opinion, now: float) -> None:
        """Store the opinion, unless it was noted and told meanwhile that the frame gets none."""

    def gone(self, waiting: Waiting, why: Gone, detail: str, now: float) -> None:
        """Note that the frame gets none."""

    def gone_of_bundle(self, bundle: str, why: Gone, detail: str, now: float) -> None:
        """Note that no waiting frame of `bundle` gets one."""

    def failed(self, waiting: Waiting, next_try_at: float) -> None:
        """Count a try that led to nothing; not before `next_try_at` (Unix seconds) again."""


class OpinionSource(Protocol):
    """The cloud's full-precision model, with all the time in the world."""

    def rest_s(self) -> float:
        """Return for how long the cloud should be left alone, 0 for not at all."""

    def ask(self, png: bytes, bundle: str, labels: Sequence[Label]) -> tuple[Prediction, str]:
        """Return (prediction in `labels`, the model's name) for one image.

        Raises:
            LinkDown: the cloud is not there for us: nothing is wrong with this image; see `rest_s`.
            TransientError: this image led to nothing this time.
            NotFound: the cloud has no full-precision model of `bundle`.
            RefusedError: it will never have this image.
        """
