"""`plumbline-agent config schema`: the JSON Schema of agent.toml."""

from __future__ import annotations

import argparse
import json

_EPILOG = """\
For an editor that completes TOML (Even Better TOML, taplo), or for a plant's own checks. It knows types and names; what depends
on more than one key, `plumbline-agent config check` knows.

example:
  plumbline-agent config schema > agent.schema.json
"""


def register(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action."""
    schema = actions.add_parser(
        "schema",
        help="print the JSON Schema of agent.toml",
        description="Print the JSON Schema (2020-12) of agent.toml, with what each key is for.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    schema.set_defaults(run=run)


def run(_args: argparse.Namespace) -> int:
    """Print it."""
    from agent.settings_schema import settings_schema

    print(json.dumps(settings_schema(), indent=2))
    return 0
