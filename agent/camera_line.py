"""What belongs to one camera of a station: everything that must not mix with another's."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.decide.frame_faults import FrameFaults
from agent.decide.novelty import Novelty
from agent.decide.sampling import Sampler
from agent.enrolled import Enrolled
from agent.guarantee import Guarantee
from agent.ports.frames import Ahead
from contract.sketches.frame_stats import FrameStats
from contract.sketches.reference import Reference


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

    def look_ahead(self, stats: FrameStats) -> Ahead:
        """Return how a frame stands to what is enrolled by now. Any thread."""
        familiar, reference = self.enrolled.familiar, self.enrolled.reference
        distance = familiar.distance(stats.values) if familiar else 0.0
        return Ahead(familiar, distance, reference, self.novelty.of(stats, reference))

    def novelty_of(self, stats: FrameStats, reference: Reference | None, ahead: Ahead | None) -> float:
        """Return the novelty of a frame against `reference`, as worked out `ahead` if against the same."""
        return ahead.novelty if ahead and ahead.reference is reference else self.novelty.of(stats, reference)
