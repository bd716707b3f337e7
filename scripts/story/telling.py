"""What the demo says while it runs, and the table it ends in."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from contract.errors import PlumblineError


@dataclass(slots=True)
class Step:
    """A step of the story: what it found, and whether every promise in it held."""

    number: int
    title: str
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)
    promises: dict[str, bool] = field(default_factory=dict)
    trouble: str = ""

    @property
    def held(self) -> bool:
        """Whether the step came to its end and every promise held; a step that promised nothing held nothing."""
        return not self.trouble and bool(self.promises) and all(self.promises.values())

    def promise(self, what: str, kept: bool) -> None:
        """Record a promise and whether it was kept."""
        self.promises[what] = kept


class Telling:
    """Narrates on stderr, so that --json leaves stdout to the figures."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._begun = time.monotonic()

    def say(self, text: str) -> None:
        """Say one line."""
        print(f"[{time.monotonic() - self._begun:5.0f} s] {text}", file=sys.stderr, flush=True)

    def step(self, title: str, act: Callable[[Step], None]) -> Step:
        """Carry out one step; an error of ours ends it and is told, not raised."""
        step = Step(len(self.steps) + 1, title)
        self.steps.append(step)
        self.say(f"{step.number}. {title}")
        begun = time.monotonic()
        try:
            act(step)
        except PlumblineError as error:
            step.trouble = error.one_line()
        step.seconds = time.monotonic() - begun
        for what, kept in step.promises.items():
            self.say(f"     {'held' if kept else 'NOT HELD'}: {what}")
        if step.trouble:
            self.say(f"     NOT HELD: {step.trouble}")
        return step

    def minutes(self) -> float:
        """Return how long the story has taken."""
        return (time.monotonic() - self._begun) / 60

    def table(self) -> str:
        """Return the closing table: step, seconds, figures, held or not."""
        rows = [("step", "seconds", "held", "figures")]
        for step in self.steps:
            figures = ", ".join(f"{k} {_short(v)}" for k, v in step.figures.items()) or "-"
            rows.append(
                (f"{step.number} {step.title}", f"{step.seconds:.1f}", "held" if step.held else "NOT HELD", figures)
            )
        widths = [max(len(r[i]) for r in rows) for i in range(3)]
        return "\n".join("  ".join([*(c.ljust(w) for c, w in zip(r, widths, strict=False)), r[3]]) for r in rows)

    def as_json(self, figures: dict[str, Any]) -> str:
        """Return the story's outcome as one JSON object: the flat `figures` and every step."""
        steps = [
            {
                "step": s.number,
                "title": s.title,
                "seconds": round(s.seconds, 1),
                "held": s.held,
                "figures": s.figures,
                "promises": s.promises,
                "trouble": s.trouble,
            }
            for s in self.steps
        ]
        return json.dumps({**figures, "held": all(s.held for s in self.steps), "steps": steps}, indent=2)


def _short(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
