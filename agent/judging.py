"""One frame to the local answer. Every failure on the way is REVIEW with its cause, never PASS (P6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.camera_line import CameraLine
from agent.decide.causes import Cause
from agent.decide.combine import combine
from agent.decide.escalation import without_cloud, without_guarantee
from agent.decide.thresholds import Decision, decide, review
from agent.loading import Evidence, Model
from agent.open_window import OpenWindow
from agent.ports.frames import Ahead
from agent.ports.source import Frame
from agent.ports.tracing import FrameSpan
from contract.decode import Prediction
from contract.errors import BadImage, BadModel
from contract.sketches.frame_stats import FrameStats, frame_stats

_LEVELS = 255.0
_SPREAD = 1  # its place in FrameStats.values


class TurnOver(Exception):
    """The thread that judges was left behind: it must enter no model any more."""


@dataclass(slots=True)
class Judged:
    """One frame on its way down the line, with the window it belongs to.

    `local` is the station's own answer and `decision` the one that is given. `by` is the model that decided; it is not the
    window's where a model beside it objected, and `seen` is then what that one saw. `evidence`: the likeliest defect's label, and
    f32[h,w], where the window's model saw it. `distance`: how far it lies from what its camera enrolled. `shows_a_part`: it is not
    blank and no repetition; one that does not is nothing to enrol on, whoever rejects it.
    """

    frame: Frame
    window: OpenWindow
    decision: Decision
    local: Decision
    prediction: Prediction | None
    stats: FrameStats | None
    by: Model | None = None
    seen: Prediction | None = None
    evidence: Evidence | None = None
    fault: str = ""
    model_failed: bool = False
    distance: float = 0.0
    shows_a_part: bool = True
    ahead: Ahead | None = None
    asked: bool = False
    answered: bool = False
    span: FrameSpan | None = None


def judge(
    frame: Frame,
    camera: CameraLine,
    window: OpenWindow,
    beside: tuple[Model | None, ...] = (),
    stats: FrameStats | None = None,
    entering: Callable[[Model], None] = lambda _model: None,
    *,
    ahead: Ahead | None = None,
) -> Judged:
    """Return the local answer to `frame` by the window's model and those `beside` it (None: one that is not there yet).

    Holds no lock: models take their time. `entering` is called before each of those beside. `stats` and `ahead`: what of the frame
    is known already.

    Raises:
        TurnOver: `entering` did.
    """
    judged = Judged(frame, window, _INTERNAL, _INTERNAL, None, stats, ahead=ahead)
    try:
        judged.local = _judge(judged, camera, beside, entering)
    except TurnOver:
        raise
    except BadImage as error:
        judged.local, judged.fault = review(Cause.BAD_IMAGE), error.one_line()
    except BadModel as error:
        judged.local, judged.fault, judged.model_failed = review(Cause.BROKEN_MODEL), error.one_line(), True
    except Exception as error:  # noqa: BLE001 - P6: a fault of ours is REVIEW too, counted and said
        judged.fault, judged.model_failed = f"{type(error).__name__}: {error}", True
        judged.local = _INTERNAL
    judged.decision = judged.local
    return judged


def _judge(
    judged: Judged, camera: CameraLine, beside: tuple[Model | None, ...], entering: Callable[[Model], None]
) -> Decision:
    frame, model = judged.frame, judged.window.model
    judged.stats = stats = judged.stats or frame_stats(frame.pixels)
    wrong = camera.faults.look(float(stats.values[_SPREAD]) * _LEVELS, stats.frame_hash)
    judged.shows_a_part = wrong is None
    if model is None:
        return review(Cause.NO_MODEL)
    judged.by = model
    # Before any model is entered: a thread that comes back from a hung one must touch nothing of the camera's.
    strange = False
    if wrong is None:
        judged.distance = camera.enrolled.distance(stats, judged.ahead)
        strange = camera.enrolled.refuses(judged.distance)
        if strange and not camera.guarantee.is_void:
            wrong = Cause.UNFAMILIAR
    judged.prediction, judged.evidence = model.examine(frame)
    judged.seen = judged.prediction
    local = review(wrong) if wrong else decide(judged.prediction, model.thresholds)
    local = camera.guarantee.apply(local) if model.guaranteed else camera.guarantee.void(local, Cause.DEGRADED)
    # An open drift alarm suspends the refusal, but no stranger passes: neither by the cloud's word, nor by the model's where the
    # alarm closes between those two looks at it.
    if strange:
        local = without_cloud(local)
    for other in beside:
        if other:
            entering(other)
        local = _with(judged, local, other) if other else combine(local, review(Cause.NO_MODEL))
    return local


def _with(judged: Judged, local: Decision, other: Model) -> Decision:
    """Return the decision with what `other` says of the same frame: its failure is REVIEW, and no failure of the window's model."""
    try:
        seen = other.predict(judged.frame)
        theirs = decide(seen, other.thresholds)
        if not other.guaranteed:
            theirs = without_guarantee(theirs, ask=False, why=Cause.DEGRADED)
        combined = combine(local, theirs)
    except BadModel as error:
        judged.fault = error.one_line()
        return combine(local, review(Cause.BROKEN_MODEL))
    except Exception as error:  # noqa: BLE001 - P6
        judged.fault = f"{type(error).__name__}: {error}"
        return combine(local, _INTERNAL)
    if combined is not local:
        judged.by, judged.seen = other, seen
    return combined


_INTERNAL = review(Cause.INTERNAL)
