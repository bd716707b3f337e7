"""What the machine's sensors said of late, in Prometheus' text format. What cannot be read is left out, not 0."""

from __future__ import annotations

from agent.api.exposition import Exposition
from agent.ports.machine import MachineFigures


def add_machine(out: Exposition, machine: MachineFigures) -> None:
    """Add what `machine` holds."""
    if machine.power_w is not None:
        out.add("plumbline_power_watts", "gauge", "What the board takes, in watts.", machine.power_w)
    rails = [({"rail": rail.name}, rail.milliwatts / 1e3) for rail in machine.rails]
    if rails:
        what = "What each measured rail carries; one may feed another, so that they do not add up."
        out.add_all("plumbline_rail_watts", "gauge", what, rails)
    events = [({"event": name}, count) for name, count in sorted(machine.events.items())]
    if events:
        what = "Alarms of the supply since the machine started; instant ones are met by the hardware alone, and degrade nothing."
        out.add_all("plumbline_supply_events_total", "counter", what, events)
    if machine.gpu_load is not None:
        out.add("plumbline_gpu_load", "gauge", "How busy the GPU is, 0 to 1.", machine.gpu_load)
    if machine.memory is not None:
        what = "What this process may still take of memory: the machine's, or less where a cgroup limits it."
        out.add("plumbline_memory_available_bytes", "gauge", what, machine.memory.available_mib * (1 << 20))
        what = "Share of the last ten seconds in which everything waited for memory."
        out.add("plumbline_memory_stalled", "gauge", what, machine.memory.stalled)
    worn = [({"disk": disk.name}, disk.worn) for disk in machine.disks if disk.worn is not None]
    if worn:
        what = "Share of its life that a disk has used, by what it says itself; above 1 beyond it."
        out.add_all("plumbline_disk_worn", "gauge", what, worn)
    written = [({"disk": disk.name}, disk.written_bytes) for disk in machine.disks if disk.written_bytes is not None]
    if written:
        what = "Bytes written to a disk since the machine started."
        out.add_all("plumbline_disk_written_bytes_total", "counter", what, written)
