"""`plumbline-agent config show`: the settings a station works with, and where each comes from."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

_EPILOG = """\
Each value is followed by who said it: default, board, agent.toml, environment or order. What is on trial is not shown as in
force.

example:
  plumbline-agent config show --config agent.toml --json
"""


def register(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action."""
    show = actions.add_parser(
        "show",
        help="show every setting and where it comes from",
        description="Show the settings that this station works with: every key, its value and where that comes from.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    show.add_argument("--config", type=Path, default=Path("agent.toml"), help="agent.toml (default %(default)s)")
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print them; nothing is changed."""
    from agent.commands.config_in_force import read_in_force
    from agent.settings import plain_settings, shown
    from agent.settings_layers import origin_of
    from contract.config_states import settings_digest

    found = read_in_force(args.config)
    profile = found.settings.profile
    head = {
        "configuration": settings_digest(found.remote),
        "config_seq": found.config_seq,
        "on_trial": found.on_trial,
        "last_change": found.last_change,
        "problem": found.problem,
        "board": profile,
    }
    settings = {
        key: {"value": shown(value), "from": origin_of(found.layers, key).value}
        for key, value in plain_settings(found.settings).items()
    }
    if args.json:
        print(json.dumps({**head, "settings": settings}, indent=2))
        return 0
    named = f"{settings_digest(found.remote)[:12]} (config_seq {found.config_seq})"
    print(f"remote settings: {named}" if found.remote else "no remote settings")
    trial = f"config_seq {found.on_trial}" if found.on_trial else ""
    texts = (
        ("on trial", trial),
        ("last change", found.last_change),
        ("not used", found.problem),
        ("board profile", profile),
    )
    for name, text in texts:
        if text:
            print(f"{name}: {text}")
    width = max(len(key) for key in settings)
    for key, each in settings.items():
        print(f"{key:{width}}  {json.dumps(each['value'])}  ({each['from']})")
    return 0
