"""`plumbline-agent config diff`: what differs between two files, or a file and what is under or over it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

_EPILOG = """\
A and B are each a file, or one of these words:
  defaults   what the agent does without any of it
  board      the profile of this machine's board, over the defaults; a profile's name (jetson-orin-nano) means that one
  in-force   what the station of --config works with now: board, file, environment and order
A file is compared by what it makes on this machine, over the board's profile: against `board` only what the file itself changes
differs.
Exit code 0: nothing differs; 1: something does; 2: one of them is wrong.

examples:
  plumbline-agent config diff agent.toml defaults
  plumbline-agent config diff agent.toml agent.toml.new
  plumbline-agent config diff agent.toml in-force --config agent.toml
"""


def register(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action."""
    diff = actions.add_parser(
        "diff",
        help="show what differs between two configurations",
        description="Show the keys whose values differ between A and B.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    diff.add_argument("a", metavar="A", help="a file, defaults, board, a profile's name, or in-force")
    diff.add_argument("b", metavar="B", help="the same")
    diff.add_argument("--config", type=Path, default=Path("agent.toml"), help="for in-force (default %(default)s)")
    diff.add_argument("--json", action="store_true", help="print JSON")
    diff.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the differences; return 1 where there are any."""
    from agent.settings import shown

    a, b = _side(args.a, args.config), _side(args.b, args.config)
    found = {key: (shown(a[key]), shown(b[key])) for key in a if a[key] != b[key]}
    if args.json:
        print(json.dumps([{"key": key, "a": left, "b": right} for key, (left, right) in found.items()], indent=2))
    elif found:
        width = max(len(key) for key in found)
        for key, (left, right) in found.items():
            print(f"{key:{width}}  {json.dumps(left)} -> {json.dumps(right)}")
    return 1 if found else 0


def _side(name: str, config: Path) -> dict[str, Any]:
    from agent.commands.config_in_force import read_in_force
    from agent.health.board_profile import profile_named, profile_names, profile_of
    from agent.settings import default_settings, plain_settings, settings_of
    from agent.settings_layers import read_layers

    if name == "defaults":
        return default_settings()
    if name == "in-force":
        return plain_settings(read_in_force(config).settings)
    path = Path(name)
    if name == "board" or (name in profile_names() and not path.exists()):
        profile = profile_of() if name == "board" else profile_named(name)
        return default_settings(profile.settings)
    return plain_settings(settings_of(read_layers(path, {}, Path("/")), path))
