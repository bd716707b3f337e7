"""A second model on a frame that another one decided, and what the two make of it together."""

from __future__ import annotations

from dataclasses import dataclass

from agent.decide.mix import Pair
from agent.decide.thresholds import decide
from agent.loading import Model
from agent.ports.clock import Clock
from agent.ports.source import Frame
from contract.decode import Prediction
from contract.errors import BadImage, BadModel
from contract.messages import Verdict


@dataclass(frozen=True, slots=True)
class Shadow:
    """What the model `by` made of a frame that another one decided; no `prediction`: the `failure` says why."""

    by: Model
    prediction: Prediction | None
    latency_ms: float
    failure: str = ""


def shadow_of(model: Model, frame: Frame, clock: Clock) -> Shadow | None:
    """Return what `model` makes of `frame`, whatever it throws; None where the image is to blame."""
    started_s, prediction, failure = clock.monotonic(), None, ""
    try:
        prediction = model.predict(frame)
    except BadImage:
        return None
    except BadModel as error:
        failure = error.one_line()
    except Exception as error:  # noqa: BLE001 - whatever a candidate throws ends its trial, not the station
        failure = f"{type(error).__name__}: {error}"
    return Shadow(model, prediction, (clock.monotonic() - started_s) * 1e3, failure)


def pair_of(first: Model, seen: Prediction | None, shadow: Shadow | None, *, first_is_candidate: bool) -> Pair | None:
    """Return the pair of what `first` and the shadow's model made of one frame; None where one of them made nothing of it."""
    if seen is None or shadow is None or shadow.prediction is None:
        return None
    verdicts = _verdict(first, seen), _verdict(shadow.by, shadow.prediction)
    candidate, incumbent = verdicts if first_is_candidate else verdicts[::-1]
    return Pair(incumbent, candidate, seen.label.name == shadow.prediction.label.name)


def _verdict(model: Model, prediction: Prediction) -> Verdict:
    return decide(prediction, model.thresholds).verdict
