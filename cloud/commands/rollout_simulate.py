"""plumbline-cloud rollout simulate: how often a rollout stops a bad release, and a good one, before either is sent out."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

import msgspec

from cloud.commands.output import print_json, print_table
from cloud.rollout.plan import RolloutPlan, check_plan
from cloud.rollout.simulate import SimulatedFleet, SimulatedRollout, rates, simulate
from cloud.settings import load_settings
from cloud.settings_operate import RolloutTable
from contract.errors import InvalidConfig

EXAMPLE = "example: plumbline-cloud rollout simulate --stations 2000 --failure-rate 0.03 --seeds 200"
_MOST_STATIONS = 100_000


def register_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    fleet = SimulatedFleet()
    parser.add_argument("--stations", type=int, default=fleet.stations, help="how many (default %(default)s)")
    parser.add_argument(
        "--failure-rate",
        type=float,
        default=0.03,
        help="share of stations that the release fails on (default %(default)s)",
    )
    parser.add_argument("--seeds", type=int, default=200, help="how many rollouts (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default %(default)s)")
    parser.add_argument(
        "--silent",
        type=float,
        default=fleet.silent_share,
        help="share of failures that say nothing (default %(default)s)",
    )
    parser.add_argument(
        "--offline",
        type=float,
        default=fleet.offline_share,
        help="share of stations that are away (default %(default)s)",
    )
    parser.add_argument(
        "--config", type=Path, default=None, help="a cloud.toml whose [rollout] is tried (none: defaults)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Simulate and print what came of it; return 0."""
    if not 1 <= args.stations <= _MOST_STATIONS or args.seeds < 1 or args.seed < 0:
        raise InvalidConfig(f"--stations must be 1 to {_MOST_STATIONS}, --seeds at least 1 and --seed not below 0")
    for name in ("failure_rate", "silent", "offline"):
        if not 0.0 <= getattr(args, name) <= 1.0:
            raise InvalidConfig(f"--{name.replace('_', '-')} is a share, 0 to 1")
    fleet = SimulatedFleet(
        stations=args.stations,
        failure_rate=args.failure_rate,
        silent_share=args.silent,
        offline_share=args.offline,
    )
    plan = _plan(load_settings(args.config).rollout if args.config else RolloutTable())
    ended = []
    for each in simulate(fleet, plan, range(args.seed, args.seed + args.seeds)):
        ended.append(each)
        _progress(len(ended), args.seeds)
    found = rates(ended)
    if args.json:
        print_json({**asdict(found), "fleet": asdict(fleet), "max_failure": plan.max_failure})
        return 0
    print(
        f"{args.seeds} rollouts to {args.stations} stations, of which a release fails on {100 * args.failure_rate:g} %:"
    )
    print(f"{100 * found.aborted:.1f} % stopped themselves, {100 * found.completed:.1f} % completed")
    if found.waves:
        print(
            f"those that stopped had ordered {found.reached_median:g} stations (median), {found.reached_most} at most"
        )
        print_table(("stopped in wave", "rollouts"), list(found.waves.items()))
        print(f"for instance: {_shortest(ended).why}")
    return 0


def _plan(table: RolloutTable) -> RolloutPlan:
    """Return the plan of a rollout by `[rollout]`; what the two share has the same names."""
    known = {field.name for field in msgspec.structs.fields(RolloutPlan)}
    plan = RolloutPlan(**{name: value for name, value in msgspec.structs.asdict(table).items() if name in known})
    plan = msgspec.structs.replace(plan, approvals=0, shadow_stations=0)
    check_plan(plan, 0)
    return plan


def _shortest(ended: list[SimulatedRollout]) -> SimulatedRollout:
    return min((each for each in ended if not each.completed), key=lambda each: each.reached)


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {of} rollouts", end="\n" if done == of else "", file=sys.stderr, flush=True)
