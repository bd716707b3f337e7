"""How the station itself fares, as its summaries tell it."""

from __future__ import annotations

from agent.degrading import DegradeFigures
from agent.health.disk import DiskRoom
from contract.messages import HealthNote


def health_note(figures: DegradeFigures, memory_mib: float, room: DiskRoom | None, outbox: int) -> HealthNote:
    """Return the note.

    Args:
        figures: of the last look at the sensors.
        memory_mib: of this process.
        outbox: summaries not acknowledged.
        room: of the disk under the station's home, None where it does not answer.
    """
    zone = figures.zone
    trips = [celsius for _name, celsius in zone.trips if celsius is not None] if zone is not None else []
    return HealthNote(
        memory_mib=round(memory_mib, 1),
        hottest_c=round(zone.temp_c, 1) if zone is not None else None,
        limit_c=min(trips) if trips else None,
        throttled=figures.throttled,
        rung=int(figures.rung),
        disk_free_mib=room.free_bytes >> 20 if room is not None else 0,
        outbox=outbox,
    )
