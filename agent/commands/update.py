"""`plumbline-agent update`: how updates stand, install one from a kit, go back to the bundle before."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from agent.kit_follow import KitEnd
    from agent.settings import Settings
    from contract.messages import Order

_EPILOG = """\
examples:
  plumbline-agent update status --config agent.toml
  plumbline-agent update apply /media/usb/kit.plk --config agent.toml
  plumbline-agent update rollback --reason "rejects good parts since Monday" --config agent.toml

The station may be running or stopped. exit codes: 0 done, 1 refused, 2 wrong usage, 3 the bundle was rolled back"""

_APPLY = """\
Everything in the kit is checked before anything changes: the order is signed by a key this station trusts, is for this station,
newer than what it followed and not expired; the metadata descends from the pinned root; every byte of the bundle has its hash.
What is refused leaves nothing behind.

A running station takes the kit up within a second and puts the bundle on trial on its live frames; the command waits for the
end. The stick may be pulled once the trial, or the self-test, is said to begin.
On a stopped station the bundle is installed and self-tested, and its trial is held when the station is started: nothing is
ever put in charge without one.

examples:
  plumbline-agent update apply /media/usb/kit.plk --config agent.toml
  plumbline-agent update apply /media/usb/kit --config agent.toml --json

exit codes: 0 committed, or (stopped) installed and waiting for its trial; 1 refused, or not done within --within;
3 it was tried and rolled back"""

_ROLLBACK = """\
The bundle committed before the present one boots from now on, at once where the station is running. The one that is left is
banned in its deployment: only a new order brings it back. A bundle older than the station's floor is never gone back to.

example:
  plumbline-agent update rollback --reason "rejects good parts since Monday" --config agent.toml

exit codes: 0 done, 1 there is nothing to go back to, or the station did not answer"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = subparsers.add_parser(
        "update", help="see, apply and take back updates", epilog=_EPILOG, formatter_class=raw
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    status = actions.add_parser("status", help="show how updates stand", epilog=_EPILOG, formatter_class=raw)
    status.set_defaults(run=_status)
    apply = actions.add_parser("apply", help="install the update on a USB stick", epilog=_APPLY, formatter_class=raw)
    apply.add_argument("kit", type=Path, help="a .plk file, or the folder of a kit")
    apply.add_argument("--within", type=float, help="seconds to wait for the end (default: what the trial may take)")
    apply.set_defaults(run=_apply)
    rollback = actions.add_parser(
        "rollback", help="go back to the bundle before", epilog=_ROLLBACK, formatter_class=raw
    )
    rollback.add_argument("--reason", default="by hand", help="why, for the record (default '%(default)s')")
    rollback.add_argument("--within", type=float, default=60.0, help="seconds to wait (default %(default)g)")
    rollback.set_defaults(run=_rollback)
    for action in (status, apply, rollback):
        action.add_argument("--config", type=Path, default=Path("agent.toml"), help="agent.toml (default %(default)s)")
        action.add_argument("--json", action="store_true", help="print one JSON object")


def _status(args: argparse.Namespace) -> int:
    from agent.settings import load_settings
    from agent.update_status import update_status
    from agent.update_wiring import read_trust
    from contract.errors import NotFound

    settings = load_settings(args.config)
    if not settings.home_folder.is_dir():
        raise NotFound(f"no station ever ran on '{settings.home_folder}'", hint="check `home` in agent.toml")
    keys = read_trust(settings).keys if settings.trust.order_keys and settings.trust.root else None
    status = update_status(settings.home_folder, settings.station, keys)
    if args.json:
        print(msgspec.json.encode(status).decode())
        return 0
    for name, value in status.items():
        for line in _lines(value):
            print(f"{name.replace('_', ' '):<12} {line}")
            name = ""
    return 0


def _apply(args: argparse.Namespace) -> int:
    from agent.clock import SystemClock
    from agent.health.home_lock import is_locked
    from agent.kit_follow import KitEnd
    from agent.runtime.machine_facts import read_machine_facts
    from agent.settings import load_settings
    from agent.slots.ab_slots import Slots
    from agent.slots.floors_file import FloorsFile
    from agent.slots.kit_apply import StationFacts, bring_in, order_in
    from agent.slots.kit_inbox import KitInbox
    from agent.slots.kit_source import open_kit
    from agent.update.trust import Acceptance
    from agent.update_wiring import read_trust
    from contract.codec import decode_control
    from contract.errors import InvalidConfig
    from contract.messages import DesiredState

    settings, clock = load_settings(args.config), SystemClock()
    home = settings.home_folder
    home.mkdir(parents=True, exist_ok=True)
    _check_user(home)
    trust, slots = read_trust(settings), Slots(home / "bundles")
    running = is_locked(home)
    if not running and (trial := slots.trial()) is not None:
        raise InvalidConfig(
            f"bundle {trial.order.bundle[:12]} is on trial here", hint="start the station, and let the trial end first"
        )
    kit, kits = open_kit(args.kit), KitInbox(home)
    facts = StationFacts(
        settings.station,
        trust.keys.read(),
        trust.root,
        clock.now(),
        read_machine_facts(),
        slots,
        FloorsFile(home / "floors"),
    )
    accepted, order, data = order_in(kit, facts)
    if accepted is Acceptance.REPEATED:
        return _tell(args, order, KitEnd.COMMITTED, "it is what the station runs already")
    if not running or kits.order() != decode_control(data, DesiredState):  # else the station is at it already
        _say(f"order {order.desired_seq} for {settings.station}: bundle {order.bundle[:12]}, {order.size_bytes} bytes")
        bring_in(kit, kits, order, data, facts, lambda: False)
    end, why = _follow(args, settings, order, running)
    return _tell(args, order, end, why)


def _follow(args: argparse.Namespace, settings: Settings, order: Order, running: bool) -> tuple[KitEnd, str]:
    from agent.clock import SystemClock
    from agent.health.home_lock import HomeLock, is_locked
    from agent.kit_follow import follow_running, stage_stopped
    from agent.mailboxes import Inbox, ReportBox, Switch
    from agent.slots.ab_slots import Slots
    from agent.slots.kit_inbox import KitInbox
    from agent.slots.reported_file import ReportedFile
    from agent.update_wiring import make_update_loop, read_trust

    home, clock = settings.home_folder, SystemClock()
    kits, trial = KitInbox(home), order.probation
    within_s = trial.timeout_s + trial.serve_s + 300.0 if args.within is None else args.within
    if running:
        return follow_running(
            kits,
            ReportedFile(home),
            order,
            clock=clock,
            within_s=within_s,
            running=lambda: is_locked(home),
            say=_say,
        )
    lock, box = HomeLock(home), ReportBox()
    try:
        loop = make_update_loop(
            settings,
            read_trust(settings),
            boot="",
            slots=Slots(home / "bundles"),
            switch=Switch(),
            inbox=Inbox(),
            report=box,
            http=None,
            clock=clock,
            roll=lambda: 0.0,
        )
        return stage_stopped(loop, box, kits, order, clock=clock, within_s=within_s, say=_say)
    finally:
        lock.release()


def _tell(args: argparse.Namespace, order: Order, end: KitEnd, why: str) -> int:
    from agent.kit_follow import KitEnd

    code = {KitEnd.COMMITTED: 0, KitEnd.STAGED: 0, KitEnd.ROLLED_BACK: 3}.get(end, 1)
    if args.json:
        said = {"end": end.value, "reason": why, "bundle": order.bundle, "desired_seq": order.desired_seq}
        print(msgspec.json.encode({**said, "deployment": order.deployment}).decode())
        return code
    bundle = order.bundle[:12]
    words = {
        KitEnd.COMMITTED: f"bundle {bundle} is committed",
        KitEnd.STAGED: f"bundle {bundle} is installed and passed its self-test; its trial begins when the station is started",
        KitEnd.ROLLED_BACK: f"bundle {bundle} was rolled back",
        KitEnd.REFUSED: f"the kit was refused: order {order.desired_seq}",
        KitEnd.UNDER_WAY: "not done yet; plumbline-agent update status tells more",
        KitEnd.STOPPED: "not done",
    }[end]
    print(f"{words} ({why})" if why else words, file=sys.stdout if code == 0 else sys.stderr)
    return code


def _rollback(args: argparse.Namespace) -> int:
    from agent.health.home_lock import HomeLock, is_locked
    from agent.settings import load_settings
    from agent.slots.ab_slots import Slots
    from contract.errors import NotFound

    settings = load_settings(args.config)
    home = settings.home_folder
    if not home.is_dir():
        raise NotFound(f"no station ever ran on '{home}'", hint="check `home` in agent.toml")
    _check_user(home)
    reason = " ".join(args.reason.split())[:300] or "by hand"
    if is_locked(home):
        digest = _ask_station(home, reason, args.within)
    else:
        lock = HomeLock(home)
        try:
            digest = Slots(home / "bundles").step_back(reason).digest
        finally:
            lock.release()
    if args.json:
        print(msgspec.json.encode({"bundle": digest, "reason": reason}).decode())
    else:
        print(f"back to bundle {digest[:12]}: {reason}")
    return 0


def _ask_station(home: Path, reason: str, within_s: float) -> str:
    from agent.clock import SystemClock
    from agent.slots.ab_slots import Slots
    from agent.slots.by_hand import ByHand, StepBackAsked
    from contract.errors import DeadlinePassed, NotFound

    mark = Slots(home / "bundles").committed()
    clock, by_hand = SystemClock(), ByHand(home)
    question = StepBackAsked(os.urandom(8).hex(), reason, mark.digest if mark else "")
    by_hand.ask(question)
    try:
        until = clock.monotonic() + within_s
        while clock.monotonic() < until:
            answer = by_hand.answered(question)
            if answer is not None and answer.refused:
                raise NotFound(answer.refused)
            if answer is not None:
                return answer.bundle
            clock.sleep(0.1)
    finally:
        # Also where the command is interrupted: nobody wants it any more.
        by_hand.withdraw()
    raise DeadlinePassed(
        f"the station did not answer within {within_s:g} s", hint="does it follow updates ([trust] in agent.toml)?"
    )


def _check_user(home: Path) -> None:
    from contract.errors import InvalidConfig

    owner = home.stat().st_uid
    if owner != os.geteuid():
        # Files of another user's would lie in the station's way for good.
        raise InvalidConfig(f"'{home}' belongs to user {owner}", hint=f"run it as that user: sudo -u '#{owner}' ...")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _lines(value: Any) -> list[str]:
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    if isinstance(value, list):
        return [line for each in value for line in _lines(each)] if value else ["-"]
    if isinstance(value, dict):
        return [", ".join(f"{key} {_short(each)}" for key, each in value.items()) or "-"]
    return [_short(value)]


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {_short(each)}" for key, each in value.items()) + ")" if value else "-"
    if isinstance(value, list):
        return " ".join(_short(each) for each in value) or "-"
    return "-" if value in ("", None) else str(value)
