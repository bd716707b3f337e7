"""What `plumbline-agent doctor` looks at of the board: whose profile lies under agent.toml, and the power mode it runs in."""

from __future__ import annotations

from pathlib import Path

from agent.commands.doctor_checks import Finding, Level
from agent.health.board import board
from agent.health.board_profile import GENERIC, profile_named
from agent.health.power_mode import power_modes, recommended
from agent.settings import Settings


def board_profile(settings: Settings, root: Path = Path("/")) -> Finding:
    """Say which profile is in force, and warn of a power mode that it does not recommend."""
    if not settings.profile:
        return Finding("board", Level.OK, f'{board(root)}, no profile (board = "none")')
    profile = profile_named(settings.profile)
    told = f"{profile.title} (profile {profile.name})"
    if settings.board == "auto" and profile.name in GENERIC:
        told = f"no profile knows '{board(root)}', so it is taken as {told}"
    if not profile.power_modes:
        return Finding("board", Level.OK, told)
    modes = power_modes(profile, root)
    wanted = recommended(profile, modes)
    if not modes.running_name:
        return Finding("board", Level.OK, f"{told}; its power mode cannot be read")
    told += f"; power mode {modes.running_name}"
    if wanted is None or wanted[0] == modes.running:
        return Finding("board", Level.OK, told)
    number, name = wanted
    todo = f"the profile recommends {name}: sudo nvpmodel -m {number} (some changes ask for a restart)"
    return Finding("board", Level.WARNING, told, todo)
