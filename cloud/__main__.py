"""plumbline-cloud: the aggregator and its single steps."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from contract.errors import PlumblineError

_COMMANDS = (
    "init",
    "keys",
    "station",
    "serve",
    "ingest",
    "dead",
    "alerts",
    "dataset",
    "train",
    "quantize",
    "gate",
    "explain",
    "curve",
    "release",
    "version",
    "mirror",
    "rollout",
    "kit",
    "config",
    "drift",
    "bundle",
    "database",
    "review",
    "why",
    "provision",
    "audit",
    "token",
    "promises",
    "costs",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 an error a person can mend, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="plumbline-cloud",
        description="Plumbline's cloud side: collect summaries, notice drift, retrain, gate, release, roll out.",
        epilog="example: plumbline-cloud init --home plant && plumbline-cloud serve --config plant/cloud.toml",
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    words = list(sys.argv[1:] if argv is None else argv)
    # One that is named needs no other's imports: a worker starts, and starts again, in a second.
    for name in (words[0],) if words and words[0] in _COMMANDS else _COMMANDS:
        import_module(f"cloud.commands.{name}").register(subparsers)
    arguments = parser.parse_args(words)
    try:
        return int(arguments.run(arguments))
    except PlumblineError as error:
        print(f"error: {error.one_line()}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        # A disk that is full, read-only or broken: for a person to mend, and the system's words name the file.
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
