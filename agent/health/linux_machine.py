"""`agent.ports.machine.Machine` on Linux, from sysfs and procfs alone."""

from __future__ import annotations

from agent.decide.heat import Heat
from agent.decide.memory import MemoryRoom
from agent.health.disk_wear import disks
from agent.health.kernel_files import KernelFiles
from agent.health.memory_room import MemorySensor
from agent.health.power import PowerSensors
from agent.health.rails import read_rails, whole_power_w
from agent.health.thermal import ThermalSensors
from agent.health.throttling import gpu_load
from agent.ports.machine import MachineFigures


class LinuxMachine:
    """`heat`, `power_trouble` and `memory` are one thread's, the one that degrades; `figures` is any thread's."""

    def __init__(self, files: KernelFiles | None = None, *, low_battery: float = 0.3) -> None:
        """`low_battery`: a discharging battery under this share is low power."""
        self._files = files = files or KernelFiles()
        self._heat = ThermalSensors(files.thermal, files.platform, files)
        self._power = PowerSensors(
            low_battery=low_battery, power_supply=files.power_supply, hwmon=files.hwmon, platform=files.platform
        )
        self._memory = MemorySensor(files)

    def heat(self) -> Heat:
        """Return what the thermal zones say, and what slows the machine down."""
        return self._heat.look()

    def power_trouble(self, now_s: float) -> str:
        """Return what is wrong with the supply, for a person; "" for nothing. `now_s`: monotonic."""
        return self._power.trouble(now_s)

    def memory(self) -> MemoryRoom | None:
        """Return the memory that is left; None where the system will not say."""
        return self._memory.look()

    def figures(self) -> MachineFigures:
        """Return what is not looked at every second. Any thread may ask."""
        files = self._files
        return MachineFigures(
            rails=read_rails(files.hwmon),
            power_w=whole_power_w(files.hwmon),
            events=self._power.events(),
            gpu_load=gpu_load(files),
            memory=MemorySensor(files).look(),
            disks=disks(files),
        )
