"""What belongs to one camera of a station: everything that must not mix with another's."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.decide.frame_faults import FrameFaults
from agent.decide.novelty import Novelty
from agent.decide.sampling import Sampler
from agent.enrolled import Enrolled
from agent.guarantee import Guarantee


@dataclass(frozen=True, slots=True)
class CameraLine:
    """`name` is "" for a station's only or first camera; `next_window` the number of the first window to open."""

    name: str
    enrolled: Enrolled
    sampler: Sampler
    faults: FrameFaults
    guarantee: Guarantee
    next_window: int = 1
    simulated: bool = False
    novelty: Novelty = field(default_factory=Novelty)
