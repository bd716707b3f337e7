"""plumbline-cloud drift simulate: how often the detectors cry wolf over a fleet, before one is bought."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from cloud.commands.output import print_json, print_table
from cloud.drift.simulate import UPSETS, Plant
from cloud.drift.simulated_watch import figures_of, hourly_policy, watch_fleet
from contract.errors import InvalidConfig

# 1,000 a second.
_MOST_FRAMES = 3_600_000


def register_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--stations", type=int, default=200, help="how many (default %(default)s; 2000 take minutes)")
    parser.add_argument(
        "--enrol-days", type=int, default=7, help="days of hourly windows to learn from (default %(default)s)"
    )
    parser.add_argument("--days", type=int, default=7, help="days to watch (default %(default)s)")
    parser.add_argument(
        "--drifting", type=float, default=0.04, help="share of stations that drift (default %(default)s)"
    )
    parser.add_argument("--frames", type=int, default=60, help="frames of an hourly window (default %(default)s)")
    parser.add_argument("--square", action="store_true", help="lamps are switched instead of a smooth day")
    parser.add_argument(
        "--outliers", type=float, default=0.0, help="share of windows thrown far off (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=simulate)


def simulate(args: argparse.Namespace) -> int:
    """Simulate, watch, and print what came of it; return 0."""
    if args.stations < 1 or args.days < 1 or args.enrol_days < 1 or args.frames < 8:
        raise InvalidConfig("stations, days and enrolled days must be at least 1, and frames 8")
    if not (0.0 <= args.drifting <= 1.0 and 0.0 <= args.outliers <= 1.0):
        raise InvalidConfig("--drifting and --outliers are shares, 0 to 1")
    if args.frames > _MOST_FRAMES:
        raise InvalidConfig(f"--frames {args.frames} is above {_MOST_FRAMES}", hint="no camera takes more in an hour")
    if args.seed < 0:
        raise InvalidConfig(f"--seed {args.seed} is below 0", hint="use any whole number from 0 on")
    plant = Plant(
        stations=args.stations,
        enrol_days=args.enrol_days,
        watch_days=args.days,
        frames=args.frames,
        drifting=args.drifting,
        square=args.square,
        outliers=args.outliers,
        seed=args.seed,
    )
    outcome = watch_fleet(plant, hourly_policy(args.enrol_days), _progress())
    figures = figures_of(outcome)
    if args.json:
        print_json(figures)
        return 0
    rate = "none could be raised: every station drifted from the first hour on"
    if outcome.station_days > 0.0:
        low, high = figures["flags_per_1000_low"], figures["flags_per_1000_high"]
        rate = (
            f"{len(outcome.false_flags)}, {outcome.flags_per_1000:.2f} ({low:.2f} to {high:.2f}) per 1,000 station-days"
        )
    print(f"{plant.stations} stations, {plant.watch_days} days watched after {plant.enrol_days} enrolled")
    print(
        f"false flags: {rate}; false discoveries: {outcome.false_share:.1%} of all; shared alarms: {len(outcome.shared_flags)}"
    )
    rows = []
    for upset in UPSETS:
        delays = [delay for drift, delay in outcome.delays_h if drift.upset == upset]
        if delays:
            middle = outcome.median_delay_h(upset)
            rows.append((upset, len(delays), sum(delay is not None for delay in delays), f"{middle:.0f} h"))
    if rows:
        print_table(("drift", "stations", "found", "median delay"), rows)
    return 0


def _progress() -> Callable[[int, int], None]:
    """Return what says on stderr which day it is, at most twice a second."""
    said_at = [0.0]

    def say(day: int, days: int) -> None:
        if time.monotonic() - said_at[0] > 0.5:
            said_at[0] = time.monotonic()
            print(f"day {day + 1} of {days}", file=sys.stderr, flush=True)

    return say
