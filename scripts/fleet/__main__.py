"""./scripts/simulate_fleet: thousands of stations against a real broker, workers and database; is anything lost or double?"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from contract.errors import InvalidConfig, PlumblineError
from scripts.fleet.plan import Plan, parse_outage, parse_seconds
from scripts.fleet.run import simulate


def main() -> int:
    """Run it and return the exit code: 0 nothing lost and nothing double, 3 something was, 1 error, 130 interrupted."""
    args = _parser().parse_args()
    try:
        plan = _plan(args)
        with tempfile.TemporaryDirectory(prefix="plumbline-fleet-") as folder:
            report = simulate(plan, Path(folder), lambda line: print(line, file=sys.stderr, flush=True))
    except PlumblineError as error:
        print(f"error: {error.one_line()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; everything is stopped", file=sys.stderr)
        return 130
    print(json.dumps(report.as_dict(), indent=2) if args.json else report.table())
    return 0 if report.held else 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./scripts/simulate_fleet",
        description="Simulate a fleet against a real broker, workers and database; report what was lost or counted twice.",
        epilog="example: ./scripts/simulate_fleet 10000 --minutes 3 --outage 30s --database postgres\n\n"
        "exit codes: 0 nothing lost or double, 3 something was, 1 error",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stations", type=int, metavar="N", help="how many stations")
    parser.add_argument("--rate", type=float, default=1.0, metavar="R", help="summaries a minute of each (default 1)")
    parser.add_argument("--minutes", type=float, default=3.0, metavar="M", help="how long (default 3)")
    parser.add_argument(
        "--outage",
        metavar="LENGTH[@START]",
        help="kill the broker so long, from START (default: in the middle), e.g. 30s@2m; with --broker: cut all connections",
    )
    parser.add_argument("--skew", default="0s", metavar="S", help="stations' clocks are off by up to so much, e.g. 10m")
    parser.add_argument(
        "--database", default="sqlite", metavar="DB", help="sqlite (default), postgres (one of our own), or a URL"
    )
    parser.add_argument("--broker", default="", metavar="HOST:PORT", help="one that runs (default: one of our own)")
    parser.add_argument("--workers", type=int, default=1, metavar="W", help="cloud workers (0: they run already)")
    parser.add_argument("--connect-rate", type=float, default=500.0, metavar="C", help="connections a second at first")
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    return parser


def _plan(args: argparse.Namespace) -> Plan:
    for name, least in (("stations", 1), ("rate", 1e-6), ("minutes", 1e-6), ("workers", 0), ("connect_rate", 1e-6)):
        if not getattr(args, name) >= least:
            raise InvalidConfig(f"{name.replace('_', '-')} must be {'more than 0' if least else '0 or more'}")
    return Plan(
        stations=args.stations,
        rate=args.rate,
        minutes=args.minutes,
        outage=parse_outage(args.outage, args.minutes) if args.outage else None,
        skew_s=parse_seconds(args.skew),
        database=args.database,
        broker=args.broker,
        workers=args.workers,
        connect_per_s=args.connect_rate,
    )


if __name__ == "__main__":
    sys.exit(main())
