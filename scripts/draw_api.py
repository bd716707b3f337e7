"""Write docs/api.md: the server's HTTP API, the station's, and every command. usage: python -m scripts.draw_api [--check]

    --check    change nothing; exit 1 when the page no longer says what the code says

The server's part comes from its own OpenAPI description, of a plant with certificates, so that the stations' door is in it; the
station's from the docstring of `agent.api.routes`; the commands' from their argparse parsers.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"

_HEAD = """# API reference

Written by `python -m scripts.draw_api`; do not edit. Three ways in: [the server's HTTP API](#the-servers-http-api),
[a station's local API](#a-stations-local-api), [the commands](#commands). Metrics are in [metrics.md](metrics.md), messages in `contract/messages.py`.
"""

_SERVER = """## The server's HTTP API

`GET /v1/openapi.json` is the whole description, with bodies and answers. People show a token (`Authorization: Bearer TOKEN`, by
`plumbline-cloud token add NAME --role ROLE`); from the server's own machine anybody may look. Whatever is wrong is answered as
`{"detail": "what it is and what to do"}`. A route for stations takes the station's own token, or its certificate.
"""

_STATION = """## A station's local API

On 127.0.0.1:8081 unless `[api]` of agent.toml says otherwise; beyond loopback it needs a token file. It answers from the station's
database and never at the line's cost: `/v1/infer` refuses with 503 while the line needs the processor.
"""


def page() -> str:
    """Return docs/api.md as it must be."""
    with tempfile.TemporaryDirectory() as scratch:
        people, stations = _descriptions(Path(scratch))
    parts = [
        _HEAD,
        _SERVER,
        "### For people",
        "",
        *_routes(people),
        "",
        "### For stations",
        "",
        *_routes(stations),
        "",
        _STATION,
    ]
    parts += [
        *_local(),
        "",
        "## Commands",
        "",
        "Each has `--help` with an example. Options of a command below; what stands in capitals is a value.",
        "",
    ]
    for program, package in (("plumbline-agent", "agent.commands"), ("plumbline-cloud", "cloud.commands")):
        parts += _commands(program, package)
    return "\n".join(parts).rstrip() + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write, or with --check compare."""
    parser = argparse.ArgumentParser(description="Write docs/api.md from the code.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the page is stale")
    check = parser.parse_args(arguments).check
    wanted = page()
    if not check:
        PAGE.write_text(wanted, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != wanted:
        print("error: docs/api.md is stale (python -m scripts.draw_api writes it anew)", file=sys.stderr)
        return 1
    return 0


def _descriptions(scratch: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the OpenAPI descriptions of both doors of a server that is put together and never started."""
    from fastapi import FastAPI

    from cloud.__main__ import main as cloud_main
    from cloud.settings import load_settings
    from cloud.wiring import Aggregator

    home = str(scratch / "plant")
    with contextlib.redirect_stdout(io.StringIO()):
        made = cloud_main(
            ["init", "--home", home, "--secure", "--broker-name", "localhost", "--public-url", "https://localhost:8080"]
        )
    if made:
        raise RuntimeError("plumbline-cloud init did not make a plant to describe")
    server = Aggregator(load_settings(Path(home) / "cloud.toml"))
    people, stations = (door.openapi() for door in (server.app, server.device_app) if isinstance(door, FastAPI))
    return people, stations


def _routes(description: Mapping[str, Any]) -> Iterator[str]:
    yield "| route | what it does |"
    yield "|---|---|"
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            said = str(operation.get("description") or operation.get("summary") or "").strip().split("\n\n")[0]
            yield f"| `{method.upper()} {path}` | {_cell(said)} |"


def _local() -> Iterator[str]:
    text = importlib.import_module("agent.api.routes").__doc__ or ""
    yield "| route | what it does |"
    yield "|---|---|"
    for route, said in re.findall(r"^((?:GET|POST) +\S+) +(.+)$", text, re.MULTILINE):
        yield f"| `{' '.join(route.split())}` | {_cell(said)} |"


def _commands(program: str, package: str) -> Iterator[str]:
    parser = argparse.ArgumentParser(prog=program)
    subparsers = parser.add_subparsers(metavar="COMMAND")
    known = vars(importlib.import_module(f"{package.split('.')[0]}.__main__"))
    for name in known.get("COMMANDS") or known["_COMMANDS"]:
        importlib.import_module(f"{package}.{name}").register(subparsers)
    words = {choice.dest: choice.help or "" for choice in subparsers._choices_actions}
    for name in sorted(subparsers._name_parser_map):
        yield f"### {program} {name}"
        yield ""
        yield from _command(f"{program} {name}", subparsers._name_parser_map[name], words.get(name, ""))


def _command(called: str, parser: argparse.ArgumentParser, purpose: str) -> Iterator[str]:
    within = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    asked = [
        each for each in parser._actions if not isinstance(each, (argparse._SubParsersAction, argparse._HelpAction))
    ]
    placed = " ".join(_metavar(each) for each in asked if not each.option_strings)
    yield f"`{called}{' ' + placed if placed else ''}`: {_cell(purpose)}."
    yield ""
    for each in asked:
        said = (each.help or "") % {**vars(each), "prog": called}
        name = ", ".join(each.option_strings) + (
            "" if each.nargs == 0 or not each.option_strings else f" {_metavar(each)}"
        )
        if each.option_strings:
            yield f"- `{name.strip()}`{' (needed)' if each.required else ''}: {_cell(said)}"
    yield ""
    for action in within:
        words = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, child in action._name_parser_map.items():
            yield from _command(f"{called} {name}", child, words.get(name, ""))


def _metavar(action: argparse.Action) -> str:
    if action.metavar is not None:
        return action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar)
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    return action.dest.upper()


def _cell(said: str) -> str:
    return " ".join(said.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
