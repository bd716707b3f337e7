"""`plumbline-agent config board`: the profile of this machine's board, and what an installer takes from it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

_EPILOG = """\
memory_max is the value for systemd's MemoryMax= in the unit's drop-in: a share of this machine's memory that the profile gives,
"infinity" where the machine does not say how much it has. Without NAME it is the profile that agent.toml's `board` means, or
where there is no agent.toml yet, the one of this machine; it is null with board = "none".

examples:
  plumbline-agent config board --json | jq -r .memory_max
  plumbline-agent config board raspberry-pi-5
"""


def register(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action."""
    board = actions.add_parser(
        "board",
        help="show the profile of this board, its power mode and its memory cap",
        description="Show the board's profile: what is known of it, what it sets, its power mode and its memory cap.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    board.add_argument("name", nargs="?", metavar="NAME", default="", help="another profile than this machine's")
    board.add_argument("--config", type=Path, help="agent.toml (default: ./agent.toml where there is one)")
    board.add_argument("--json", action="store_true", help="print one JSON object")
    board.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print it."""
    from agent.health.board_profile import profile_named, profile_of
    from agent.settings import layers_here

    path = args.config or Path("agent.toml")
    if args.name:
        profile = profile_named(args.name)
    elif args.config or path.exists():
        chosen = layers_here(path).board
        if chosen is None:
            print(json.dumps({"profile": None, "memory_max": None}) if args.json else 'no profile (board = "none")')
            return 0
        profile = chosen
    else:
        profile = profile_of()
    told = board_facts(profile.name, Path("/"))
    if args.json:
        print(json.dumps(told, indent=2))
        return 0
    for name, value in told.items():
        if value in ("", None, 0, [], (), {}):
            continue
        print(f"{name.replace('_', ' '):<17} {value if isinstance(value, str) else json.dumps(value)}")
    return 0


def board_facts(name: str, root: Path) -> dict[str, Any]:
    """Return what is known of the profile `name`, and of the machine at `root` by it."""
    from agent.health.board import board
    from agent.health.board_profile import memory_max_mib, memory_mib, profile_named
    from agent.health.power_mode import power_modes, recommended

    profile = profile_named(name)
    total = memory_mib(root)
    cap, modes = memory_max_mib(profile, total), power_modes(profile, root)
    wanted = recommended(profile, modes)
    return {
        "profile": profile.name,
        "title": profile.title,
        "machine": board(root),
        "soc": profile.soc,
        "gpu_sm": profile.gpu_sm,
        "jetpack": profile.jetpack,
        "runtimes": profile.runtimes,
        "note": profile.note,
        "memory_mib": total,
        "memory_max_mib": cap,
        "memory_max": f"{cap}M" if cap else "infinity",
        "power_mode": modes.running_name,
        "recommended_power_mode": {"id": wanted[0], "name": wanted[1]} if wanted else None,
        "power_modes": [{"id": mode.id, "name": mode.name, "watts": mode.watts} for mode in profile.power_modes],
        "throttle_c": profile.thermal.throttle_c,
        "shutdown_c": profile.thermal.shutdown_c,
        "settings": profile.settings,
    }
