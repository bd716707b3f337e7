"""Why a person is asked about a frame, in words for that person."""

from __future__ import annotations

from cloud.review.agreement import Standing

_WHY = {
    "audit": "drawn at random: your label measures how often the model is right",
    "hard": "the model was unsure",
    "novel": "unlike anything its camera enrolled",
    "review": "the station could not judge it",
}
# Who said what stays untold, and so does that a label is checked by a second person: either would sway the answer.
_CAME_BACK = {
    Standing.DISPUTED.value: "two people disagree",
    Standing.RETURNED.value: "sent back: a dataset has it under several labels",
}


def why_asked(reason: str, novelty: float = 0.0, again: str = "") -> str:
    """Return a sentence for the reason a frame was kept; of a novel one it says how strange it is.

    `again`: the standing in which it came back to the queue ("disputed", "returned"), which is then the reason.

    >>> why_asked("novel", 3.12)
    'unlike anything its camera enrolled (3.1 where an ordinary part is 1)'
    >>> why_asked("audit", again="disputed")
    'two people disagree'
    """
    if again in _CAME_BACK:
        return _CAME_BACK[again]
    why = _WHY.get(reason, f"kept by its station: {reason}")
    return f"{why} ({novelty:.1f} where an ordinary part is 1)" if reason == "novel" and novelty > 0 else why
