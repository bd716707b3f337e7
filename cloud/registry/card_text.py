"""Figures and foreign names as text in a model card (Markdown)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from cloud.gate.binomial import lower_bound, upper_bound

MAX_SHOWN = 20
_CONFIDENCE = 0.95


def table_row(name: str, correct: int, images: int) -> str:
    """Return a row: name, counts, share with interval."""
    return f"| {name} | {correct} of {images} | {interval_of(correct, images)} |"


def share_of(hits: int, trials: int) -> str:
    """Return counts, share and interval."""
    return f"{hits} of {trials}: {interval_of(hits, trials)}" if trials else "no images"


def interval_of(hits: int, trials: int) -> str:
    """Return the share and its two-sided Clopper-Pearson interval."""
    if not trials:
        return "no images"
    one_sided = 1 - (1 - _CONFIDENCE) / 2
    low, high = lower_bound(hits, trials, one_sided), upper_bound(hits, trials, one_sided)
    return f"{hits / trials:.3f} ({low:.3f} to {high:.3f})"


def listed(names: Sequence[str]) -> str:
    """Return the names on one line, at most MAX_SHOWN of them."""
    shown = ", ".join(names[:MAX_SHOWN])
    return shown + (f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else "")


def plain(text: str) -> str:
    """Return `text` on one line, as text: names come from folders and files, and must not become markup or terminal codes."""
    line = " ".join("".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text).split())
    return "".join(f"\\{char}" if char in "\\`*[]<>|#" else char for char in line)
