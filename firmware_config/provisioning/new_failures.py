"""`python -m firmware_config.provisioning.new_failures`: what the doctor of a new version fails and the old one's does not.

What is broken on a station anyway (a cable, a broker that is away) is no reason to refuse the version that may mend it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import msgspec

from contract.errors import BadMessage

_EPILOG = """\
Exit code 0: nothing fails that did not fail before; 1: something does, or the new doctor does not answer.

example:
  python -m firmware_config.provisioning.new_failures OLD/bin/plumbline-agent NEW/bin/plumbline-agent --config agent.toml
"""
_WITHIN_S = 180.0


class _Check(msgspec.Struct, frozen=True):
    name: str
    level: str
    found: str = ""
    todo: str = ""


class _Doctor(msgspec.Struct, frozen=True):
    checks: tuple[_Check, ...]


def examine(agent: Path, config: Path) -> dict[str, str]:
    """Return what `agent doctor` fails, by check.

    Raises:
        BadMessage: it does not answer as a doctor does.
    """
    command = (str(agent), "doctor", "--config", str(config), "--json")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
        answer = msgspec.json.decode(done.stdout, type=_Doctor)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadMessage(f"'{agent} doctor' does not run: {error}") from error
    except msgspec.DecodeError as error:
        words = done.stderr.strip().splitlines()
        raise BadMessage(f"'{agent} doctor' does not answer: {words[-1] if words else error}") from error
    return {check.name: check.found for check in answer.checks if check.level == "FAIL"}


def main(arguments: list[str] | None = None) -> int:
    """Compare the two."""
    parser = argparse.ArgumentParser(
        prog="python -m firmware_config.provisioning.new_failures",
        description="Show what the doctor of a new version fails and that of the old one does not.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old", type=Path, metavar="OLD", help="plumbline-agent of the version that runs")
    parser.add_argument("new", type=Path, metavar="NEW", help="plumbline-agent of the version to come")
    parser.add_argument("--config", type=Path, required=True, help="agent.toml")
    args = parser.parse_args(arguments)
    try:
        failures = examine(args.new, args.config)
    except BadMessage as error:
        print(f"error: {error.one_line()}", file=sys.stderr)
        return 1
    try:
        before = examine(args.old, args.config)
    except BadMessage:
        return 0  # the old one is beyond asking: that is what upgrades are for
    fresh = {name: found for name, found in failures.items() if name not in before}
    for name, found in fresh.items():
        print(f"error: the new version's doctor fails {name}: {found}", file=sys.stderr)
    return 1 if fresh else 0


if __name__ == "__main__":
    sys.exit(main())
