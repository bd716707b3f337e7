"""`plumbline-agent`: the station daemon and its tools."""

from __future__ import annotations

import argparse
import importlib
import io
import sqlite3
import sys
from collections.abc import Sequence

from contract.errors import InvalidConfig, PlumblineError

# Each is a module of agent.commands; they import what they need when they run, so that `--help` is instant.
COMMANDS = ("run", "infer", "status", "simulate", "selftest", "doctor", "reload", "config", "update", "bench", "enrol")

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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be no text
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
    except sqlite3.DatabaseError as error:
        hint = "the station mends it when it starts again: plumbline-agent run"
        print(f"error: the station's database cannot be read: {error} ({hint})", file=sys.stderr)
        return 1
    except OSError as error:
        # A disk that is full, read-only or broken: for a person to mend, and the system's words name the file.
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
