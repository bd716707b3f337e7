"""How commands print."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cloud.commands.json_formatter import JsonFormatter

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Subparsers = Any


def log_to_stderr(form: str = "text") -> None:
    """Let a server say what it does, and leave out what its libraries say of themselves. `form`: "text", or "json"."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    if form == "json":
        logging.getLogger().handlers[0].setFormatter(JsonFormatter())
    for name in ("httpx", "alembic.runtime.plugins"):
        logging.getLogger(name).setLevel(logging.WARNING)


def print_json(value: Any) -> None:
    """Print one JSON value."""
    print(json.dumps(value, indent=2, default=str))


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in aligned columns."""
    cells = [[str(c) for c in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        print("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())
