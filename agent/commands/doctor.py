"""`plumbline-agent doctor`: look at everything a station needs, and say what to do about what is wrong."""

from __future__ import annotations

import argparse
from pathlib import Path

_EPILOG = """\
It changes nothing and may be run while the station runs. Each line: ok, warning or FAIL, what was looked at, and what to do.
Exit code 0: nothing failed (there may be warnings); 1: something did.

example:
  plumbline-agent doctor --config agent.toml
  plumbline-agent doctor --config agent.toml --json | jq '.checks[] | select(.level == "FAIL")'
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="check camera, model, clock, disk, heat, power, certificate, broker, cloud, trust and GPU",
        description="Check what a station needs: config, board, disk, clock, heat, power, camera, model, runtimes, trust, "
        "secrets, certificate, broker, cloud, the line's controller and local API.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, default=Path("agent.toml"), help="agent.toml (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a line a check; return 1 when one failed."""
    import msgspec

    from agent.commands.doctor_checks import Finding, Level, examine
    from agent.settings import load_settings
    from contract.errors import InvalidConfig

    findings: list[Finding] = []

    def say(finding: Finding) -> None:
        findings.append(finding)
        if not args.json:
            todo = f": {finding.todo}" if finding.todo else ""
            print(f"{finding.level.value:<8} {finding.name:<11} {finding.found}{todo}", flush=True)

    try:
        settings = load_settings(args.config)
    except InvalidConfig as error:
        say(Finding("config", Level.FAIL, error.message, error.hint))
    else:
        say(Finding("config", Level.OK, f"'{args.config}' is sound, station {settings.station}"))
        for finding in examine(settings):
            say(finding)
    failed = any(finding.level is Level.FAIL for finding in findings)
    if args.json:
        print(msgspec.json.encode({"ok": not failed, "checks": findings}).decode())
    return 1 if failed else 0
