"""`plumbline-agent config check`: every mistake in a station's settings, and what its board speaks against."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

_EPILOG = """\
All of the file's mistakes are told at once, each with its line; those of the environment name the variable. A warning works and
is unwise: a value that the board's profile speaks against, or a variable that only looks like a setting. It looks at words and
numbers only; plumbline-agent doctor looks at what they stand for.
Exit code 0: the station would start (there may be warnings); 2: it would not.

example:
  plumbline-agent config check --config agent.toml && sudo systemctl restart plumbline-agent
"""


def register(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action."""
    check = actions.add_parser(
        "check",
        help="check agent.toml and the environment",
        description="Check agent.toml, and the environment over it, without starting anything.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("--config", type=Path, default=Path("agent.toml"), help="agent.toml (default %(default)s)")
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is wrong; return 2 where anything is."""
    from agent.commands.config_in_force import read_in_force
    from agent.settings_problems import examine_settings

    found = examine_settings(args.config)
    warnings = list(found.warnings)
    profile = found.layers.board if found.layers else None
    if not found.problems:
        refused = read_in_force(args.config).problem
        warnings += [f"what the cloud ordered is not used: {refused}"] if refused else []
    if args.json:
        told = [{"message": error.message, "hint": error.hint} for error in found.problems]
        profile_name = profile.name if profile else ""
        print(json.dumps({"ok": not told, "board": profile_name, "problems": told, "warnings": warnings}, indent=2))
        return 2 if told else 0
    for error in found.problems:
        print(f"wrong    {error.one_line()}")
    for warning in warnings:
        print(f"warning  {warning}")
    if found.problems:
        return 2
    print(f"'{args.config}' is sound, on {profile.title if profile else 'no board profile'}")
    return 0
