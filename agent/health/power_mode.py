"""Which of nvpmodel's power modes a Jetson runs in, from the two files that nvpmodel itself keeps: no root, no program."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from agent.health.board_profile import BoardProfile

_MODE = re.compile(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", re.MULTILINE)
_DEFAULT = re.compile(r"^<\s*PM_CONFIG\s+DEFAULT=(\d+)\s*>", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PowerModes:
    """The modes that a board has, by number, and the number of the one that it runs in; None where that cannot be read."""

    names: dict[int, str]
    running: int | None

    @property
    def running_name(self) -> str:
        """The name of the mode it runs in, "" where that cannot be read."""
        return "" if self.running is None else self.names.get(self.running, f"mode {self.running}")


def power_modes(profile: BoardProfile, root: Path = Path("/")) -> PowerModes:
    """Return the modes of the machine at `root`: by its own nvpmodel.conf, else by what the profile knows.

    /var/lib/nvpmodel/status holds "pmode:0002 fmode:quiet" once nvpmodel has run; before, /etc/nvpmodel.conf's default is meant.
    """
    conf, status = _text(root / "etc/nvpmodel.conf"), _text(root / "var/lib/nvpmodel/status")
    names = {int(number): name for number, name in _MODE.findall(conf)}
    running = re.search(r"pmode:\s*(\d+)", status) or _DEFAULT.search(conf)
    return PowerModes(
        names or {mode.id: mode.name for mode in profile.power_modes}, int(running[1]) if running else None
    )


def recommended(profile: BoardProfile, modes: PowerModes) -> tuple[int, str] | None:
    """Return (number, name) of the mode that the profile recommends and the board has; None where it recommends none.

    Releases write one mode as "25W" and as "MODE_25W".
    """
    for wanted in profile.recommended_modes:
        for number, name in modes.names.items():
            if _plain(name) == _plain(wanted):
                return number, name
    return None


def _plain(name: str) -> str:
    return name.upper().removeprefix("MODE_")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
