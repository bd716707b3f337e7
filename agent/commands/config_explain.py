"""`plumbline-agent config explain`: what a key means, its value in every layer, and who may change it."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.settings_layers import Layers

_EPILOG = """\
Without KEY, and for a section, every key with what it is for. Without an agent.toml, what does not depend on one.

examples:
  plumbline-agent config explain policy.images_leave --config agent.toml
  plumbline-agent config explain broker
"""


def register(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action."""
    explain = actions.add_parser(
        "explain",
        help="say what a key means, and who may change it",
        description="Say what a key means: its type, default, value in force and in every layer, and who may change it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    explain.add_argument("key", nargs="?", metavar="KEY", default="", help="e.g. line.deadline_ms, or a section")
    explain.add_argument("--config", type=Path, help="agent.toml (default: ./agent.toml where there is one)")
    explain.add_argument("--json", action="store_true", help="print JSON")
    explain.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print it."""
    from agent.settings import default_settings
    from agent.settings_example import words_of

    keys = [key for key in default_settings() if not args.key or args.key in (key, key.partition(".")[0])]
    if not keys:
        raise _unknown(args.key, list(default_settings()))
    if args.key in keys:
        return _one(args)
    if args.json:
        print(json.dumps({key: words_of(key) for key in keys}, indent=2))
        return 0
    width = max(len(key) for key in keys)
    for key in keys:
        print(f"{key:{width}}  {words_of(key)}".rstrip())
    return 0


def _one(args: argparse.Namespace) -> int:
    from agent.commands.config_in_force import read_in_force
    from agent.settings import plain_settings, shown
    from agent.settings_layers import origin_of

    path = args.config or Path("agent.toml")
    found = read_in_force(path) if args.config or path.exists() else None
    told = explained(args.key, found.layers if found else None)
    if found:
        told |= {
            "value": shown(plain_settings(found.settings)[args.key]),
            "from": origin_of(found.layers, args.key).value,
        }
    if args.json:
        print(json.dumps(told, indent=2))
        return 0
    print(f"{args.key}: {told['means']}")
    print(f"  type         {told['type']}")
    print(f"  default      {json.dumps(told['default'])}")
    for origin, value in told["layers"].items():
        place = f"  ({told['variable'] or 'no variable sets it'})" if origin == "environment" else ""
        print(f"  {origin:<12} {'-' if value is None else json.dumps(value)}{place}")
    if found:
        print(f"  in force     {json.dumps(told['value'])} ({told['from']})")
    print(f"  an order     {'may set it, ' if told['order']['may'] else 'may not set it: '}{told['order']['how']}")
    return 0


def explained(key: str, layers: Layers | None) -> dict[str, Any]:
    """Return what is known of `section.key`; of what each layer says, where `layers` were read."""
    from agent.settings import default_settings, shown
    from agent.settings_environment import environment_name
    from agent.settings_example import words_of
    from agent.settings_layers import Origin
    from agent.update.config_keys import KEYS, NEVER

    bound = KEYS.get(key)
    why = NEVER.get(key) or NEVER.get(key.partition(".")[0], "")
    said = [origin for origin in Origin if origin is not Origin.DEFAULT]
    return {
        "key": key,
        "means": words_of(key),
        "type": _type_of(key),
        "default": default_settings()[key],
        "layers": {origin.value: shown(layers.get(origin).value(key)) for origin in said} if layers else {},
        "variable": environment_name(key),
        "order": {"may": bound is not None, "how": bound.value if bound is not None else why},
    }


def _type_of(key: str) -> str:
    """Return the type in the words of JSON Schema."""
    from agent.settings_schema import settings_schema

    schema = settings_schema()
    definitions = schema["$defs"]
    about: Mapping[str, Any] = {"$ref": schema["$ref"]}
    for name in key.split("."):
        about = definitions[about["$ref"].rpartition("/")[2]]["properties"][name]
    if "$ref" in about:
        about = {**definitions[about["$ref"].rpartition("/")[2]], **about}
    if "enum" in about:
        return " or ".join(json.dumps(value) for value in about["enum"])
    if "anyOf" in about:
        return " or ".join(sorted(each["type"] for each in about["anyOf"]))
    kind = about["type"]
    if kind != "array":
        return str(kind)
    items = about["items"].get("type", "table")
    return f"list of {items}s"


def _unknown(key: str, known: list[str]) -> Exception:
    from contract.errors import InvalidConfig

    nearest = difflib.get_close_matches(key, [*known, *{each.partition(".")[0] for each in known}], n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'?" if nearest else "plumbline-agent config explain shows every key"
    return InvalidConfig(f"there is no key '{key[:80]}'", hint=hint)
