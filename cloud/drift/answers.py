"""The answers of a series' latest windows, and of the first ones under its model: two small sets of counts.

Windows count in the order in which the cloud stored them, each once: `row` is their place in that order, and one that is not
above the last is known already. What belongs to another bundle or model file than the newest window's starts anew.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.drift.label_shift import MOST_LABELS
from contract.errors import BadMessage
from contract.sketches.label_counts import CONFIDENCE_BINS
from contract.sketches.window import Window

LATEST = 24
FIRST = 24


class Answers(msgspec.Struct, frozen=True):
    """Label counts of one or more windows (none for models of more than `MOST_LABELS`) and their logit-confidence bins, i64[64]."""

    labels: tuple[int, ...]
    confidences: tuple[int, ...]


class AnswerState(msgspec.Struct, frozen=True):
    """What is remembered of a series.

    `since`: what was captured before, by the station's clock, belongs to a normal that is no more (0: nothing does). `boot`, `seq`:
    of the newest window. `first`: of the first `first_windows` windows of this model. `latest`: of the newest ones, newest last.
    """

    row: int = 0
    since: float = 0.0
    bundle: str = ""
    artefact: str = ""
    boot: str = ""
    seq: int = 0
    first_windows: int = 0
    first: Answers = Answers((), (0,) * CONFIDENCE_BINS)
    latest: tuple[Answers, ...] = ()

    def label_windows(self) -> NDArray[np.int64]:
        """Return the label counts of the latest windows, i64[W,K]."""
        labels = len(self.latest[0].labels) if self.latest else 0
        return np.array([each.labels for each in self.latest], np.int64).reshape(len(self.latest), labels)

    def confidences(self) -> NDArray[np.int64]:
        """Return the logit-confidence counts of the latest windows together, i64[64]."""
        total = np.zeros(CONFIDENCE_BINS, np.int64)
        for each in self.latest:
            total += np.array(each.confidences, np.int64)
        return total


def take_window(state: AnswerState, row: int, bundle: str, boot: str, seq: int, window: Window) -> AnswerState:
    """Return the state with a window more; the same state for one that is known or late."""
    if row <= state.row:
        return state
    artefact = window.identity.artefact
    if (bundle, artefact) != (state.bundle, state.artefact):
        if boot == state.boot and seq < state.seq:
            # A late window of the model before: the newest one says what runs.
            return msgspec.structs.replace(state, row=row)
        state = AnswerState(since=state.since, bundle=bundle, artefact=artefact)
    counts = window.label_counts().tolist() if window.identity.labels <= MOST_LABELS else []
    seen = Answers(tuple(counts), tuple(window.confidence_histograms().sum(axis=0).tolist()))
    learning = state.first_windows < FIRST
    return msgspec.structs.replace(
        state,
        row=row,
        boot=boot,
        seq=seq,
        first_windows=state.first_windows + learning,
        first=_together(state.first, seen) if learning else state.first,
        latest=(*state.latest, seen)[-LATEST:],
    )


def start_anew(state: AnswerState, since: float) -> AnswerState:
    """Return the state after the camera was enrolled again at `since`: its windows and labels so far do not count any more."""
    return msgspec.structs.replace(state, since=since, first_windows=0, first=AnswerState().first, latest=())


def encode_answers(state: AnswerState) -> bytes:
    """Return the state as bytes."""
    return msgspec.msgpack.encode(state)


def decode_answers(payload: bytes) -> AnswerState:
    """Return the state in `payload`.

    Raises:
        BadMessage: these bytes are none.
    """
    try:
        state = msgspec.msgpack.decode(payload, type=AnswerState)
    except (msgspec.DecodeError, ValueError) as error:
        raise BadMessage(f"no state of answers: {error}", hint="it is learnt anew from the next windows") from error
    if any(len(each.confidences) != CONFIDENCE_BINS for each in (state.first, *state.latest)):
        raise BadMessage("a state of answers with other bins", hint="it is learnt anew from the next windows")
    if len({len(each.labels) for each in state.latest}) > 1:
        raise BadMessage("a state of answers with other labels", hint="it is learnt anew from the next windows")
    return state


def _together(first: Answers, second: Answers) -> Answers:
    labels = tuple(a + b for a, b in zip(first.labels or (0,) * len(second.labels), second.labels, strict=True))
    return Answers(labels, tuple(a + b for a, b in zip(first.confidences, second.confidences, strict=True)))
