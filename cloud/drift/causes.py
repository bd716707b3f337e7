"""Why an alarm rang: a broken sensor first, then what is seen, then what is answered, and one sentence that says it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import msgspec
import numpy as np

from cloud.drift.e_detector import Bank, stream_wealth, streams
from cloud.drift.observation import Observation, unpack
from cloud.drift.vectors import from_bytes
from contract.sketches.moments import STATISTICS


class Cause(str, Enum):
    """Sensor faults, in the order they are looked for; then shifts. NONE: nothing is wrong."""

    NONE = "none"
    MISSING = "missing"
    BLACK = "black"
    SATURATED = "saturated"
    FROZEN = "frozen"
    CLOCK = "clock"
    COVARIATE_SHIFT = "covariate_shift"
    LABEL_SHIFT = "label_shift"
    CONCEPT_SHIFT = "concept_shift"


SHOWN_BY_ANY_FRAME = frozenset({Cause.MISSING, Cause.BLACK, Cause.SATURATED})
"""Faults that a window without them disproves, however few frames it has."""

FAULTS = frozenset({Cause.MISSING, Cause.BLACK, Cause.SATURATED, Cause.FROZEN, Cause.CLOCK})

_FAULT_SENTENCES = {
    Cause.MISSING: "camera: no frames",
    Cause.BLACK: "camera: frames are black",
    Cause.SATURATED: "camera: frames are overexposed to white",
    Cause.FROZEN: "camera: the same frame again and again",
    Cause.CLOCK: "clock: it jumps",
}

_PARTS = {
    "sharpness": "lens",
    "grain": "lens",
    "specks": "dust",
    "vignette": "uneven light",
    "tilt": "uneven light",
    "entropy": "contrast",
    "spread": "contrast",
    "scene": "scene",
    "pattern": "scene",
    "together": "image",
    "labels": "outputs",
    "confidence": "outputs",
    "confidences": "outputs",
}
_WORDS = {
    "confidences": "confidence histogram",
    "pattern": "scene pattern",
    "labels": "label mix",
    "together": "statistics together",
}
_CAUSE_WORDS = {
    Cause.MISSING: "no frames come",
    Cause.BLACK: "frames are black",
    Cause.SATURATED: "frames are overexposed",
    Cause.FROZEN: "the same frame again and again",
    Cause.CLOCK: "its clock is wrong",
    Cause.COVARIATE_SHIFT: "what it sees has changed",
    Cause.LABEL_SHIFT: "what comes has changed",
    Cause.CONCEPT_SHIFT: "what is right has changed",
}
# What names a part comes before what only says that something moved.
_VAGUE = {"together": 2, "scene": 1, "pattern": 1}

_MEAN = {name: index for index, name in enumerate(STATISTICS)}
_ALL_PIXELS = 0.98
_FLAT = 0.02
_MOST_PIXELS = 0.90
_DISTINCT_OF_FROZEN = 1.5
# One window of strong evidence; less is noise.
_LEAST_LOG_WEALTH = 4.0
_TIE = 5.0


def cause_in_words(cause: str) -> str:
    """Return what a cause means to a person; one of another version as it stands.

    >>> cause_in_words("covariate_shift"), cause_in_words("a_new_one")
    ('what it sees has changed', 'a new one')
    """
    return next((words for known, words in _CAUSE_WORDS.items() if known.value == cause), cause.replace("_", " "))


def figure_in_words(figure: str) -> str:
    """Return what a figure of the evidence is called.

    >>> figure_in_words("labels"), figure_in_words("sharpness")
    ('label mix', 'sharpness')
    """
    return _WORDS.get(figure, figure)


class Evidence(msgspec.Struct, frozen=True):
    """A figure that lay beyond its margin, always on one side: on average `z` sd from normal for `windows` windows, 0 of which
    are a set of images that is no window of a station."""

    figure: str
    z: float
    windows: int
    since: float

    def sentence(self) -> str:
        """Return e.g. "sharpness -3.1 sd for 4 windows"."""
        plural = "" if self.windows == 1 else "s"
        lasted = f" for {self.windows} window{plural}" if self.windows else ""
        return f"{figure_in_words(self.figure)} {self.z:+.1f} sd{lasted}"


def find_fault(seen: Observation, min_frames: int) -> Cause:
    """Return the sensor fault that a window shows, or NONE.

    BLACK also asks for a flat image, so that dark-field scenes, black but for what matters, are left alone.
    """
    if seen.frames == 0:
        return Cause.MISSING
    means = unpack(seen.means)
    dark, saturated = float(means[_MEAN["dark"]]), float(means[_MEAN["saturated"]])
    if seen.features > 1:
        dark, saturated = dark * dark, saturated * saturated
    if dark >= _ALL_PIXELS and means[_MEAN["spread"]] <= _FLAT:
        return Cause.BLACK
    if saturated >= _MOST_PIXELS:
        return Cause.SATURATED
    if seen.frames >= min_frames and seen.distinct < _DISTINCT_OF_FROZEN:
        return Cause.FROZEN
    return Cause.NONE


def fault_sentence(fault: Cause, windows: int) -> str:
    """Return a sensor fault in words."""
    return f"{_FAULT_SENTENCES[fault]} for {windows} window{'' if windows == 1 else 's'}"


def gather(banks: Sequence[Bank], most: int = 4) -> tuple[Evidence, ...]:
    """Return the figures that speak for a change now, strongest first, at most `most`; mere noise is left out."""
    found: list[tuple[float, Evidence]] = []
    for bank in banks:
        wealth, (figure_of, signs) = stream_wealth(bank), streams(bank.figures)
        run, level, at = from_bytes(bank.run), from_bytes(bank.run_level), from_bytes(bank.run_at)
        for index in np.flatnonzero((run > 0) & (wealth >= _LEAST_LOG_WEALTH)):
            z = float(signs[index] * level[index] / run[index])
            found.append(
                (float(wealth[index]), Evidence(bank.figures[figure_of[index]], z, int(run[index]), float(at[index])))
            )
    # Streams that reach the cap together differ by chance; among those the larger deviation explains better.
    top = max((wealth for wealth, _ in found), default=0.0) - _TIE
    found.sort(key=lambda pair: (pair[0] < top, _VAGUE.get(pair[1].figure, 0), -abs(pair[1].z), pair[1].figure))
    return tuple(evidence for _, evidence in found[:most])


def parts_of(evidence: Sequence[Evidence]) -> frozenset[str]:
    """Return the parts of a station that `evidence` points at; what only says that something moved points at none."""
    return frozenset(_PARTS.get(item.figure, "light") for item in evidence if item.figure not in _VAGUE)


def sentence_of(evidence: Sequence[Evidence]) -> str:
    """Return the leading evidence with the part it points at: "lens: sharpness -3.1 sd for 4 windows"."""
    lead = min(evidence, key=lambda item: (_VAGUE.get(item.figure, 0), -abs(item.z)))
    return f"{_PARTS.get(lead.figure, 'light')}: {lead.sentence()}"


def explain(inputs: Bank, outputs: Bank | None, log_threshold: float) -> tuple[Cause, str, tuple[Evidence, ...]]:
    """Return the cause, one sentence and the evidence of an alarm.

    LABEL_SHIFT is claimed only while the input is quiet: under a covariate shift the outputs move too, and prove nothing.
    """
    seen = gather((inputs,))
    answered = gather((outputs,), most=3) if outputs is not None else ()
    seen_moved = bool(seen) and float(stream_wealth(inputs).max()) >= log_threshold
    answers_moved = outputs is not None and float(stream_wealth(outputs).max()) >= log_threshold and bool(answered)
    if seen_moved or not answers_moved:
        lead = seen[:1] or answered[:1]
        state = "being enrolled" if outputs is None else "also shifted" if answers_moved else "unchanged"
        cause, tail = Cause.COVARIATE_SHIFT, f"; outputs {state}"
    else:
        lead, cause, tail = answered[:1], Cause.LABEL_SHIFT, "; what is seen is unchanged"
    if not lead:
        return cause, f"many figures a little{tail}", seen + answered
    return cause, f"{sentence_of(lead)}{tail}", (seen + answered)
