"""plumbline-cloud rollout: start rollouts on the running server, look at them, and steer them."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from cloud.clock import SystemClock
from cloud.commands import rollout_simulate
from cloud.commands.output import Subparsers, plain, print_json
from cloud.commands.rollout_view import OVER, follow, print_list, print_one, print_waited_for
from cloud.commands.server_api import ask_server
from cloud.dashboard.ab_words import arm_words, difference_words
from cloud.rollout.ab_report import AbReport
from cloud.settings import load_settings

_EXAMPLE = """examples:
  plumbline-cloud rollout start --version v2 --reason 'finds scratches' --wait --config plant/cloud.toml
  plumbline-cloud rollout list --config plant/cloud.toml
  plumbline-cloud rollout show 3 --state FAILED --config plant/cloud.toml
  plumbline-cloud rollout approve 3 --note 'gate report read' --config plant/cloud.toml
  plumbline-cloud rollout pause 3 --reason 'shift change' --config plant/cloud.toml
  plumbline-cloud rollout abort 3 --reason 'wrong lamp' --config plant/cloud.toml
  plumbline-cloud rollout rollback --version v1 --reason 'v2 lets dust pass' --wait --config plant/cloud.toml
  plumbline-cloud rollout ab start --version v2 --share 0.5 --config plant/cloud.toml
  plumbline-cloud rollout simulate --stations 2000 --failure-rate 0.03

--json always prints the rollout as the server has it (list: a list of them; ab report: the report).

exit codes: 0 done, 1 error or refused, 2 wrong usage, 3 the rollout that was waited for was aborted, or not done in time"""


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "rollout",
        help="start, watch, approve, pause, abort or compare rollouts",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    start = _action(actions, "start", "roll a released version out: canary first, then in waves", _start)
    start.add_argument("--version", required=True, help="a released version, or an alias such as candidate")
    start.add_argument("--reason", default="", help="why, for the audit log")
    _add_plan(start)
    _add_wait(start)
    listing = _action(actions, "list", "list rollouts, newest first", _list)
    listing.add_argument("--limit", type=int, default=20, help="how many at most (default %(default)s)")
    listing.add_argument("--before", type=int, metavar="ID", help="only older ones than this")
    show = _action(actions, "show", "show one rollout: waves, stations and why", _show, rollout=True)
    show.add_argument("--state", default="", help="only stations in this state, such as FAILED")
    show.add_argument("--name", default="", help="only stations whose name holds this")
    show.add_argument("--limit", type=int, default=50, help="how many stations at most (default %(default)s)")
    watch = _action(actions, "watch", "follow a rollout until it is over", _watch, rollout=True)
    watch.add_argument(
        "--timeout", type=float, default=math.inf, metavar="S", help="wait no longer than so many seconds"
    )
    approve = _action(actions, "approve", "approve a rollout that somebody else started", _steer, rollout=True)
    approve.add_argument("--note", default="", help="what you looked at, for the audit log")
    approve.set_defaults(route="approve", words="approved")
    steps = (
        ("reject", "say no to a rollout: it does not begin", "declined"),
        ("pause", "order no further station until it is resumed", "paused"),
        ("abort", "stop a rollout and bring its stations back", "being stopped; its stations are ordered back"),
    )
    for name, what, words in steps:
        step = _action(actions, name, what, _steer, rollout=True)
        step.add_argument("--reason", required=True, help="why, for the audit log")
        step.set_defaults(route=name, words=words)
    resume = _action(actions, "resume", "go on with a paused rollout", _steer, rollout=True)
    resume.set_defaults(route="resume", words="resumed")
    back = _action(actions, "rollback", "bring every station to an earlier version at once", _roll_back)
    back.add_argument("--version", required=True, help="a version that ran before")
    back.add_argument("--reason", required=True, help="why, for the audit log")
    _add_wait(back)
    _register_ab(actions)
    rollout_simulate.register_options(
        actions.add_parser(
            "simulate",
            help="say how often a bad release would be stopped, and a good one not",
            epilog=rollout_simulate.EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )


def _register_ab(actions: Subparsers) -> None:
    parser = actions.add_parser(
        "ab",
        help="hold two versions side by side",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    steps = parser.add_subparsers(metavar="STEP", required=True)
    start = _action(steps, "start", "give a version to a share of the fleet", _start_ab)
    start.add_argument("--version", required=True, help="a released version, or an alias such as candidate")
    start.add_argument("--share", type=float, default=0.5, help="of the fleet (default %(default)s)")
    start.add_argument("--days", type=float, default=7.0, help="then the former one is kept (default %(default)s)")
    start.add_argument("--reason", default="", help="why, for the audit log")
    report = _action(steps, "report", "say how the two compare", _report_ab, rollout=True)
    report.set_defaults(words="")
    conclude = _action(steps, "conclude", "give everybody the one that is kept", _conclude_ab, rollout=True)
    conclude.add_argument("--keep", choices=("a", "b"), required=True, help="a: the former version; b: the new one")
    conclude.add_argument("--reason", required=True, help="why, for the audit log")


def _action(actions: Any, name: str, what: str, run: Any, *, rollout: bool = False) -> argparse.ArgumentParser:
    action: argparse.ArgumentParser = actions.add_parser(
        name, help=what, epilog=_EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if rollout:
        action.add_argument("rollout", type=int, help="the rollout's number")
    action.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
    action.add_argument("--json", action="store_true", help="print JSON")
    action.set_defaults(run=run)
    return action


def _add_wait(action: argparse.ArgumentParser) -> None:
    action.add_argument("--wait", action="store_true", help="follow it until it is over")
    action.add_argument("--timeout", type=float, default=math.inf, metavar="S", help="with --wait: no longer than this")


def _add_plan(action: argparse.ArgumentParser) -> None:
    plan = action.add_argument_group("what differs from [rollout] of cloud.toml")
    plan.add_argument(
        "--waves", dest="wave_shares", type=_shares, metavar="0.05,0.25", help="rising shares of the fleet"
    )
    plan.add_argument("--canary", type=int, help="stations that take it first")
    plan.add_argument("--shadow", dest="shadow_stations", type=int, help="stations that decide unseen before that")
    plan.add_argument("--soak-s", type=float, help="seconds between waves")
    plan.add_argument("--max-failure", type=float, help="share of stations that may fail")
    plan.add_argument("--approvals", type=int, help="how many others must approve")
    plan.add_argument("--window", dest="windows", action="append", help="'mon-fri 22:00-05:00'; may be given again")
    plan.add_argument("--not-before", type=float, metavar="UNIX_S", help="when it may begin")
    plan.add_argument("--cohort", help="only these: a cohort, site:NAME, board:NAME or a station")
    plan.add_argument(
        "--despite-budget", dest="hold_on_budget", action="store_false", default=None,
        help="do not wait while an error budget is spent: this release mends what spends it",
    )  # fmt: skip


_PLAN = (
    "wave_shares", "canary", "shadow_stations", "soak_s", "max_failure", "approvals", "windows", "not_before", "cohort",
    "hold_on_budget",
)  # fmt: skip


def _start(args: argparse.Namespace) -> int:
    body: dict[str, Any] = {"version": args.version}
    if args.reason:
        body["reason"] = args.reason
    if plan := {name: value for name in _PLAN if (value := getattr(args, name)) is not None}:
        body["plan"] = plan
    return _begun(args, _send(args, "/v1/rollouts", body)["rollout"])


def _roll_back(args: argparse.Namespace) -> int:
    body = {"version": args.version, "reason": args.reason}
    return _begun(args, _send(args, "/v1/rollouts/rollback", body)["rollout"])


def _start_ab(args: argparse.Namespace) -> int:
    until = SystemClock().now() + args.days * 86_400.0
    body = {"version": args.version, "share": args.share, "until": until, "reason": args.reason}
    args.wait = False
    return _begun(args, _send(args, "/v1/rollouts/ab", body)["rollout"])


def _begun(args: argparse.Namespace, rollout: int) -> int:
    if args.wait:
        args.rollout = rollout
        return _watch(args)
    if args.json:
        print_json(_get(args, f"/v1/rollouts/{rollout}"))
    else:
        print(f"rollout {rollout} of {args.version} has started")
    return 0


def _watch(args: argparse.Namespace) -> int:
    clock = SystemClock()
    found = follow(lambda path: _get(args, path), args.rollout, clock.sleep, args.timeout, clock.monotonic)
    if args.json:
        print_json(found)
    elif found["state"] in OVER:
        print(f"rollout {args.rollout}: {found['state']} ({plain(found['reason'])})")
    else:
        why = plain(found["hold"] or found["reason"])
        print(f"rollout {args.rollout} is {found['state']} after {args.timeout:.0f} s: {why}")
        print_waited_for(_waited_for(args, args.rollout), clock.now())
    return 0 if found["state"] == "DONE" else 3


def _list(args: argparse.Namespace) -> int:
    before = f"&before={args.before}" if args.before is not None else ""
    few = "" if args.json else "&stations=false"
    rollouts = _get(args, f"/v1/rollouts?limit={args.limit}{before}{few}")
    if args.json:
        print_json(rollouts)
        return 0
    under_way = [each["id"] for each in rollouts if each["state"] in ("RUNNING", "PAUSED", "ABORTING")]
    print_list(rollouts, _waited_for(args, under_way[0]) if under_way else [], SystemClock().now())
    return 0


def _show(args: argparse.Namespace) -> int:
    state = f"&state={quote(args.state.upper())}" if args.state else ""
    found = _get(args, f"/v1/rollouts/{args.rollout}")
    path = f"{found['stations_at']}?limit={args.limit}&text={quote(args.name)}{state}"
    stations = _get(args, path)
    if args.json:
        print_json({**found, "stations": stations["stations"]})
    else:
        print_one(found, stations["stations"], stations["total"], SystemClock().now())
    return 0


def _steer(args: argparse.Namespace) -> int:
    body = {name: value for name in ("reason", "note") if (value := getattr(args, name, None)) is not None}
    _send(args, f"/v1/rollouts/{args.rollout}/{args.route}", body)
    return _told(args, args.words)


def _conclude_ab(args: argparse.Namespace) -> int:
    _send(args, f"/v1/rollouts/{args.rollout}/conclude", {"keep": args.keep, "reason": args.reason})
    return _told(args, f"concluded: '{args.keep}' is kept")


def _report_ab(args: argparse.Namespace) -> int:
    found = _get(args, f"/v1/rollouts/{args.rollout}/ab")
    if args.json:
        print_json(found)
        return 0
    report = msgspec.convert(found, AbReport)
    for arm in report.arms:
        print(arm_words(arm))
    for each in report.differences:
        print(difference_words(each, report.confidence))
    return 0


def _told(args: argparse.Namespace, words: str) -> int:
    print_json(_get(args, f"/v1/rollouts/{args.rollout}")) if args.json else print(f"rollout {args.rollout} is {words}")
    return 0


def _waited_for(args: argparse.Namespace, rollout: int) -> list[dict[str, Any]]:
    path = f"/v1/rollouts/{rollout}/stations?state=ORDERED&state=SHADOWING&state=RECALLED&limit=1000"
    stations: list[dict[str, Any]] = _get(args, path)["stations"]
    return stations


def _get(args: argparse.Namespace, path: str) -> Any:
    return ask_server(load_settings(args.config), "GET", path)


def _send(args: argparse.Namespace, path: str, body: dict[str, Any]) -> Any:
    return ask_server(load_settings(args.config), "POST", path, body)


def _shares(text: str) -> list[float]:
    return [float(each) for each in text.split(",")]
