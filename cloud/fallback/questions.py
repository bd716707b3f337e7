"""Second opinions as values: what is asked, why it is not taken on, and what became of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum


class Refused(str, Enum):
    """Why a question is not taken on; the value says it in words."""

    LATE = "it would be answered too late"
    FULL = "too many images wait"
    SHARE = "this station has its share of what waits already"


class Fate(str, Enum):
    """What became of a question that was taken on."""

    ANSWERED = "answered"
    LATE = "late"
    GONE = "gone"
    UNREADABLE = "unreadable"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Question:
    """One image to be judged by `model` for `station` by `due_at`; `room`: how many that model judges at once.

    From `useless_at` on, a little later, the answer serves nobody.
    """

    number: int
    station: str
    model: str
    room: int
    due_at: float
    size_bytes: int
    deferred: bool = False
    useless_at: float = math.inf


@dataclass(frozen=True, slots=True)
class Refusal:
    """A question that is not taken on, and after how many seconds to ask again."""

    cause: Refused
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class Running:
    """A batch that a worker has in hand."""

    questions: tuple[Question, ...]
    began_at: float
    ends_at: float


@dataclass(slots=True)
class Counts:
    """What was asked and what became of it: offered = admitted + sum(refused), and admitted = sum(fates) + those still here."""

    admitted: int = 0
    refused: dict[Refused, int] = field(default_factory=lambda: dict.fromkeys(Refused, 0))
    fates: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys(Fate, 0))
    batches: int = 0
    batched: int = 0
