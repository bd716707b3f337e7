"""Can this machine run that bundle? Asked before anything is downloaded, and again before the self-test. Pure.

A bundle says what it needs (`Compatibility`, memory), an adapter what this machine has (`MachineFacts`). What is not known
here never refuses a bundle: the self-test decides it, at the price of a download.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from contract.errors import BadBundle
from contract.manifest import Compatibility

UNKNOWN = ""
"""The version of a package that is there but does not say which version it is."""

# Either of these loads a .tflite: having one of them new enough will do.
_STAND_INS = (frozenset({"ai-edge-litert", "tflite-runtime"}),)
_VERSION = re.compile(r"v?(?:(\d{1,9})!)?(\d{1,9}(?:\.\d{1,9})*)(.*)", re.ASCII | re.DOTALL | re.IGNORECASE)
_BEFORE_FINAL = re.compile(r"[-_.]?(?:a|b|c|rc|alpha|beta|pre|preview|dev)[-_.]?\d*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What this machine is and has.

    `machine`: as `uname -m` says. `packages`: versions of the installed runtimes by package name, UNKNOWN where one does not say.
    `agent`: this agent's version. `memory_mib`: what a process here can ever have, 0 when not known.
    """

    machine: str = UNKNOWN
    packages: Mapping[str, str] = field(default_factory=dict)
    agent: str = UNKNOWN
    memory_mib: float = 0.0


def incompatibilities(compatibility: Compatibility, facts: MachineFacts) -> list[str]:
    """Return why the bundle cannot run here, one sentence each that says what to change; [] when nothing speaks against it."""
    found = []
    if compatibility.machines and facts.machine and facts.machine not in compatibility.machines:
        made_for = " or ".join(each[:40] for each in compatibility.machines[:8])
        found.append(f"it is made for {made_for}, this machine is {facts.machine}: release it for this machine too")
    for group in _alternatives(compatibility.runtimes):
        reasons = [_lack(package, least, facts.packages.get(package)) for package, least in group]
        if all(reasons):
            # Of alternatives the one that is installed is the one to upgrade.
            installed = [
                reason for reason, (package, _) in zip(reasons, group, strict=True) if package in facts.packages
            ]
            found.append((installed or reasons)[0])
    if compatibility.agent and facts.agent:
        lack = _lack("plumbline-edge", compatibility.agent, facts.agent)
        if lack:
            found.append(lack)
    return found


def check_fits(compatibility: Compatibility, memory_mib: float, facts: MachineFacts) -> None:
    """Check that a bundle with these needs can run here.

    Raises:
        BadBundle: it cannot; the message says what to change.
    """
    lack = memory_lack(memory_mib, facts)
    if unfit := [*incompatibilities(compatibility, facts), *([lack] if lack else [])]:
        raise BadBundle(f"this bundle cannot run here: {'; '.join(unfit)}")


def memory_lack(memory_mib: float, facts: MachineFacts) -> str:
    """Return why the bundle cannot fit into this machine's memory; "" when it can, or when either is not known."""
    if not facts.memory_mib or memory_mib <= facts.memory_mib:
        return ""
    return f"it takes {memory_mib:.0f} MiB of memory, this machine has {facts.memory_mib:.0f} MiB in all"


def at_least(version: str, least: str) -> bool | None:
    """Return whether `version` is `least` or newer, by release numbers as in PEP 440; None when either is no version.

    1.20 is 1.20.0; 1.20rc1 and 1.20.dev3 come before 1.20; what follows a `+` or `.post` changes nothing.
    """
    ours, wanted = _key(version), _key(least)
    return None if ours is None or wanted is None else ours >= wanted


def _alternatives(runtimes: Mapping[str, str]) -> list[list[tuple[str, str]]]:
    """Group the needs so that one of each group must be met."""
    groups: dict[frozenset[str], list[tuple[str, str]]] = {}
    for package, least in sorted(runtimes.items()):
        family = next((each for each in _STAND_INS if package in each), frozenset({package}))
        groups.setdefault(family, []).append((package, least))
    return list(groups.values())


def _lack(package: str, least: str, installed: str | None) -> str:
    name, wanted = package[:80], least[:40]
    if installed is None:
        return f"it needs {name} {wanted} or newer, which is not installed here: install {name}"
    if installed == UNKNOWN:
        return ""
    met = at_least(installed, least)
    if met is None and _key(least) is None:
        return f"it asks for {name} '{wanted}', which is no version: release it again"
    if met is False:
        return f"it needs {name} {wanted} or newer, this machine has {installed[:40]}: upgrade {name}"
    return ""


def _key(version: str) -> tuple[int, tuple[int, ...], bool] | None:
    match = _VERSION.fullmatch(version.strip())
    if match is None:
        return None
    epoch, release, rest = match.groups()
    numbers = [int(number) for number in release.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return int(epoch or 0), tuple(numbers), _BEFORE_FINAL.match(rest) is None
