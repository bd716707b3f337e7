"""How the station itself fares, as its summaries tell it."""

from __future__ import annotations

from agent.degrading import DegradeFigures
from agent.health.disk import DiskRoom
from agent.ports.machine import MachineFigures
from contract.messages import HealthNote


def health_note(
    figures: DegradeFigures,
    memory_mib: float,
    room: DiskRoom | None,
    outbox: int,
    machine: MachineFigures | None = None,
    unfamiliar: float | None = None,
) -> HealthNote:
    """Return the note.

    Args:
        figures: of the last look at the sensors.
        memory_mib: of this process.
        outbox: summaries not acknowledged.
        room: of the disk under the station's home, None where it does not answer.
        machine: what was read of late, None while nothing was.
        unfamiliar: the share of frames refused of late (`agent.decide.unfamiliar.RefusedOfLate`).
    """
    zone = figures.zone
    trips = [celsius for _name, celsius in zone.trips if celsius is not None] if zone is not None else []
    seen = machine or MachineFigures()
    left = figures.memory or seen.memory
    return HealthNote(
        memory_mib=round(memory_mib, 1),
        hottest_c=round(zone.temp_c, 1) if zone is not None else None,
        limit_c=min(trips) if trips else None,
        throttled=figures.throttled,
        rung=int(figures.rung),
        disk_free_mib=room.free_bytes >> 20 if room is not None else 0,
        outbox=outbox,
        low_power=figures.low_power,
        power_w=round(seen.power_w, 1) if seen.power_w is not None else None,
        free_memory_mib=round(left.available_mib) if left is not None else None,
        disk_worn=seen.worn,
        unfamiliar=round(unfamiliar, 4) if unfamiliar is not None else None,
    )
