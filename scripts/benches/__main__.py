"""./scripts/bench: measure against the budgets."""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from contract.errors import PlumblineError
from scripts.benches.budget import all_held, table

_BENCHES = {
    "adversarial": "defects an attacker turns into PASS, by thresholds and refusal (minutes; --quick: a minute)",
    "agent": "the station beside a bare loop, without sketches, and a peer (minutes; --quick: seconds)",
    "drift": "power, run length and cost beside other detectors, on real tiles (minutes; --quick: seconds)",
    "fallback": "second opinions at 1, 2 and 4 times capacity beside a server that refuses none (minutes; --quick: seconds)",
    "ingest": "workers beside a bare subscriber, and a fleet with an outage (minutes; --quick: seconds)",
    "line": "a controller's latency and each trigger's end, overrun and with a dead camera too (minutes; --quick: one or two)",
    "loop": "the demo on the steel images under defocus (minutes)",
    "retrain": "labels to recovery, what 8 bits cost, the gate's error rates (half an hour; --quick: a minute or two)",
    "sketch": "cost and size of sketches (seconds)",
    "update": "an update full, as delta, by zstd and by bsdiff, on a fine-tuned pair (minutes; --quick: seconds)",
}
_WITH_OPTIONS = ("adversarial", "agent", "drift", "fallback", "ingest", "line", "retrain", "update")


def main() -> int:
    """Run a benchmark and return the exit code: 0 every target held, 3 one did not, 1 error."""
    parser = argparse.ArgumentParser(
        prog="./scripts/bench",
        description="Measure against the budgets.",
        epilog="example: ./scripts/bench loop --json\n\nexit codes: 0 every target held, 3 one did not, 1 error",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", choices=sorted(_BENCHES), help="what to measure; none: list what there is")
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="adversarial, agent, drift, fallback, ingest, line, retrain, update: seconds, not minutes; the figures say little",
    )
    parser.add_argument(
        "--peers",
        action="store_true",
        help="agent, drift: peers too, installed into .venv-peers when missing (the others have them always)",
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="retrain: keep what is made here, and go on from what is there"
    )
    args = parser.parse_args()
    if args.what not in _WITH_OPTIONS and (args.quick or args.peers):
        parser.error(
            "--quick and --peers are for 'adversarial', 'agent', 'drift', 'fallback', 'ingest', 'line', 'retrain' and 'update'"
        )
    if args.keep is not None and args.what != "retrain":
        parser.error("--keep is for 'retrain'")
    if args.what is None:
        print("\n".join(f"{name:<11} {what}" for name, what in _BENCHES.items()))
        return 0
    try:
        bench = import_module(f"scripts.benches.{args.what}")
        options: dict[str, Any] = {"quick": args.quick, "peers": args.peers} if args.what in _WITH_OPTIONS else {}
        if args.keep is not None:
            options["keep"] = args.keep
        figures: dict[str, float] = bench.measure(**options)
    except PlumblineError as error:
        print(f"error: {error.one_line()}", file=sys.stderr)
        return 1
    shown = getattr(bench, "table", table)
    print(json.dumps(figures, indent=2) if args.json else shown(figures))
    return 0 if all_held(figures) else 3


if __name__ == "__main__":
    sys.exit(main())
