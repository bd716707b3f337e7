"""`plumbline-agent config show`: the settings a station works with, and where each comes from."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

_EPILOG = """\
Precedence: defaults < agent.toml < the settings that the cloud ordered and this station kept. What is on trial is not shown
as in force.

example:
  plumbline-agent config show --config agent.toml --json
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("config", help="show the settings in force and where each comes from")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
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
    from agent.settings import load_settings
    from agent.settings_origins import effective_settings
    from agent.slots.config_file import ConfigFile
    from contract.config_states import settings_digest
    from contract.errors import InvalidConfig

    local = load_settings(args.config)
    folder = local.home_folder / "config"
    # An order counts only while agent.toml pins a key that orders can be signed with.
    store = ConfigFile(folder) if local.trust.order_keys and folder.is_dir() else None
    in_force = store.in_force() if store else None
    last, trial = (store.last(), store.trial()) if store else (None, None)
    remote, problem = in_force.settings if in_force else "", ""
    try:
        found = effective_settings(args.config, remote)
    except InvalidConfig as error:
        problem, remote = error.one_line(), ""
        found = effective_settings(args.config, "")
    ending = "" if last is None else "kept" if last.kept else f"rolled back: {last.reason}"
    head = {
        "configuration": settings_digest(remote),
        "config_seq": in_force.config_seq if in_force and not problem else 0,
        "on_trial": trial.order.config_seq if trial else 0,
        "last_change": ending,
        "problem": problem,
    }
    if args.json:
        print(json.dumps({**head, "settings": {s.key: {"value": s.value, "from": s.origin} for s in found}}, indent=2))
        return 0
    named = f"{settings_digest(remote)[:12]} (config_seq {head['config_seq']})"
    print(f"remote settings: {named}" if remote else "no remote settings")
    for name, text in (("on trial", trial and f"config_seq {trial.order.config_seq}"), ("last change", ending)):
        if text:
            print(f"{name}: {text}")
    if problem:
        print(f"not used: {problem}")
    width = max(len(setting.key) for setting in found)
    for setting in found:
        print(f"{setting.key:{width}}  {json.dumps(setting.value)}  ({setting.origin})")
    return 0
