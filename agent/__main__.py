"""`plumbline-agent`: the station daemon and its tools."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from contract.errors import InvalidConfig, PlumblineError

# Each is a module of agent.commands; they import what they need when they run, so that `--help` is instant.
COMMANDS = ("run", "infer", "status", "simulate", "selftest", "doctor")

_EXAMPLES = """\
examples:
  plumbline-agent run --config agent.toml
  plumbline-agent infer --bundle steel.plb part-0001.png
  plumbline-agent status --config agent.toml --json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 an error a person can mend, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="plumbline-agent",
        description="Judge parts on this station, notice drift, follow signed updates.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"agent.commands.{name}").register(subparsers)
    args = parser.parse_args(arguments)
    try:
        return int(args.run(args))
    except InvalidConfig as error:
        print(f"error: {error.one_line()}", file=sys.stderr)
        return 2
    except PlumblineError as error:
        print(f"error: {error.one_line()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `plumbline-agent infer ... | head`: the reader has seen enough.
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
