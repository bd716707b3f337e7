"""Why a person is asked about a frame, in words for that person."""

from __future__ import annotations

_WHY = {
    "audit": "drawn at random: your label measures how often the model is right",
    "hard": "the model was unsure",
    "novel": "unlike anything its camera enrolled",
    "review": "the station could not judge it",
}


def why_asked(reason: str, novelty: float = 0.0) -> str:
    """Return a sentence for the reason a frame was kept; of a novel one it says how strange it is.

    >>> why_asked("novel", 3.12)
    'unlike anything its camera enrolled (3.1 where an ordinary part is 1)'
    """
    why = _WHY.get(reason, f"kept by its station: {reason}")
    return f"{why} ({novelty:.1f} where an ordinary part is 1)" if reason == "novel" and novelty > 0 else why
