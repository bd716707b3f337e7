"""`plumbline-agent config`: look at a station's settings before, while and after it runs; nothing is changed by any of it."""

from __future__ import annotations

import argparse
import importlib

# Each is a module of agent.commands, config_NAME; they import what they need when they run, so that `--help` is instant.
ACTIONS = ("show", "check", "explain", "diff", "schema", "cameras", "board")

_EPILOG = """\
Precedence: defaults < board < agent.toml < environment < the settings that the cloud ordered and this station kept.

  board        the profile of this machine's board (board = "auto" in agent.toml; plumbline-agent config board)
  environment  PLUMBLINE_SECTION__KEY=value, at the top PLUMBLINE__KEY=value: a TOML value, or a bare word for text,
               e.g. PLUMBLINE_LINE__THREADS=2 or PLUMBLINE_BROKER__HOST=10.0.0.5; [[cameras]] and [[models]] stay in the file.
               It is this shell's that is looked at; a service's own is in its unit (systemctl show -p Environment).

examples:
  plumbline-agent config check --config agent.toml
  plumbline-agent config explain line.deadline_ms
  plumbline-agent config diff agent.toml defaults
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "config",
        help="check, show and explain the settings, and where each comes from",
        description="Check, show, explain and compare a station's settings.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name in ACTIONS:
        importlib.import_module(f"agent.commands.config_{name}").register(actions)
