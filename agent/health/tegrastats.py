"""NVIDIA's tegrastats, where there is one: what sysfs tells an unprivileged reader only in part.

Not needed and never part of the line: `doctor` asks it. What it adds is the GPU's load where sysfs has none (a container that sees
neither gpu.0 nor devfreq) and the load of the memory controller (EMC), whose counters lie in debugfs, which is root's.

It has no version and its line changes with each JetPack; each field is looked for by itself. Forms, from public threads:
JetPack 4: `VDD_IN 5297/5297`, `GPU@39.5C` (henrygd/beszel#1631). 5 and 6: `GR3D_FREQ 5%` or `5%@[305]`, `VDD_IN 4903mW/4903mW`,
`gpu@47.1C`. 7 on a Thor: no GR3D_FREQ, `gpu@62.9C` or `gpu@62.906C/...`, `VDD_GPU`, `VIN` (wendylabsinc/WendyOS#1316); an idle
rail may be negative. Field meanings: NVIDIA's Jetson Linux guide, "tegrastats Utility".
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.ports.clock import Clock

MOST_BYTES = 4096
_MOST_FIELDS = 32
_COMMAND = ("tegrastats", "--interval", "500")

_RAM = re.compile(r"\bRAM (\d{1,9})/(\d{1,9})MB")
_SWAP = re.compile(r"\bSWAP (\d{1,9})/(\d{1,9})MB")
_GPU = re.compile(r"\bGR3D_FREQ (\d{1,3})%")
_EMC = re.compile(r"\bEMC_FREQ (\d{1,3})%")
_TEMPERATURE = re.compile(r"\b([A-Za-z][A-Za-z0-9_]{0,30})@(-?\d{1,3}(?:\.\d{1,6})?)C")
_RAIL = re.compile(
    r"\b((?:VDD|VIN|POM|VDDQ|CV|GPU|CPU|SOC|SYS5V|VDDRQ)(?:_[A-Z0-9_]{1,30})?) (-?\d{1,7})(?:mW)?/-?\d{1,7}(?:mW)?(?!MB)\b"
)


@dataclass(frozen=True, slots=True)
class TegraStats:
    """One line. What it does not say, or says in no form that is known, is None or missing.

    `gpu` and `emc`: loads, 0 to 1. `milliwatts`: the present power of each rail. `celsius`: of each zone.
    """

    ram_mib: tuple[int, int] | None = None
    swap_mib: tuple[int, int] | None = None
    gpu: float | None = None
    emc: float | None = None
    milliwatts: Mapping[str, int] = field(default_factory=dict)
    celsius: Mapping[str, float] = field(default_factory=dict)


def parse_line(line: str) -> TegraStats:
    """Return what `line` says; never raises."""
    line = line[:MOST_BYTES]
    temperatures = ((name, float(value)) for name, value in _TEMPERATURE.findall(line)[:_MOST_FIELDS])
    return TegraStats(
        ram_mib=_pair(_RAM, line),
        swap_mib=_pair(_SWAP, line),
        gpu=_share(_GPU, line),
        emc=_share(_EMC, line),
        milliwatts={name: int(value) for name, value in _RAIL.findall(line)[:_MOST_FIELDS]},
        # A zone without power reads -256 C; PMIC is a constant of 50 or 100.
        celsius={name: value for name, value in temperatures if value > -100.0 and name != "PMIC"},
    )


def is_installed() -> bool:
    """Return whether there is a tegrastats to ask."""
    return shutil.which(_COMMAND[0]) is not None


def ask_tegrastats(clock: Clock, within_s: float = 3.0, command: Sequence[str] = _COMMAND) -> TegraStats | None:
    """Run it until it has said one line and end it; None where there is none, or it says nothing in time.

    At most MOST_BYTES of it are read, and the process and its children are gone when this returns.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return None
    try:
        assert process.stdout is not None
        line = _first_line(process.stdout.fileno(), clock, within_s)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    return parse_line(line) if line else None


def _first_line(file: int, clock: Clock, within_s: float) -> str:
    """Return the first whole line, or "" when none came within `within_s` or MOST_BYTES."""
    said, until_s = b"", clock.monotonic() + within_s
    with selectors.DefaultSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        while (left_s := until_s - clock.monotonic()) > 0 and len(said) < MOST_BYTES:
            if not selector.select(left_s):
                continue
            block = os.read(file, MOST_BYTES - len(said))
            if not block:
                return ""
            said += block
            if b"\n" in said:
                return said.split(b"\n", 1)[0].decode("utf-8", "replace")
    return ""


def _pair(pattern: re.Pattern[str], line: str) -> tuple[int, int] | None:
    found = pattern.search(line)
    return (int(found[1]), int(found[2])) if found else None


def _share(pattern: re.Pattern[str], line: str) -> float | None:
    found = pattern.search(line)
    return min(int(found[1]), 100) / 100 if found else None
