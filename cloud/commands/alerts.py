"""plumbline-cloud alerts: what people were told, and whether they can be told."""

from __future__ import annotations

import argparse
import contextlib
import secrets
import time
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud.commands.output import Subparsers, print_json, print_table
from cloud.settings import CloudSettings, load_settings
from contract.errors import InvalidConfig, PlumblineError

if TYPE_CHECKING:
    from cloud.ports.notices import Notice, Post

_EXAMPLES = """examples:
  plumbline-cloud alerts list --config plant/cloud.toml
  plumbline-cloud alerts list --all --config plant/cloud.toml     # what is over, too
  plumbline-cloud alerts test --config plant/cloud.toml           # a test message by each channel of [alerts]
  plumbline-cloud alerts test chat --config plant/cloud.toml

exit codes: 0 done, 3 a channel did not take the test message, 1 error"""

_CONNECT_S = 10.0


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "alerts",
        help="list what people were told, or send a test message",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the open notices, and messages that no channel took yet")
    listing.add_argument("--all", action="store_true", help="also those that are over")
    listing.add_argument("--limit", type=int, default=50, help="how many at most (default %(default)s)")
    listing.set_defaults(run=_list)
    trial = actions.add_parser("test", help="send a test message by every channel, or by those named")
    trial.add_argument("channels", nargs="*", metavar="CHANNEL", help='a webhook\'s name in cloud.toml, or "mqtt"')
    trial.set_defaults(run=_test)
    for action in (listing, trial):
        action.epilog = _EXAMPLES
        action.formatter_class = argparse.RawDescriptionHelpFormatter
        action.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
        action.add_argument("--json", action="store_true", help="print JSON")


def _list(args: argparse.Namespace) -> int:
    if args.limit < 1:
        raise InvalidConfig(f"--limit {args.limit} must be above 0")
    from cloud.store.notices import Notices
    from cloud.store_wiring import open_database

    with contextlib.closing(open_database(load_settings(args.config))) as database:
        book = Notices(database)
        found = book.newest(args.limit) if args.all else book.open()[-args.limit :][::-1]
        waiting = book.waiting(args.limit)
    if args.json:
        print_json({"notices": [_shown(each) for each in found], "undelivered": [asdict(each) for each in waiting]})
        return 0
    if found:
        print_table(
            ("since", "severity", "told", "state", "what"),
            [
                (_time(n.opened_at), n.need.severity.value, n.times_told, _state(n), _plain(n.need.what, 160))
                for n in found
            ],
        )
    else:
        print("nothing needs to be told just now")
    if waiting:
        print("\nnot delivered:")
        print_table(
            ("made", "channel", "tries", "state", "error"),
            [(_time(p.made_at), p.channel, p.tries, _post_state(p), _plain(p.error, 120)) for p in waiting],
        )
    return 0


def _test(args: argparse.Namespace) -> int:
    from cloud.alerts.message import trial_message
    from cloud.clock import SystemClock
    from cloud.notices_wiring import make_channels, make_links

    settings, now = load_settings(args.config), SystemClock().now
    body = trial_message(make_links(settings), now(), secrets.token_hex(8)).decode()
    link = _Link(settings)
    channels = make_channels(settings, link, now)
    known = {channel.name for channel in channels}
    if not known:
        hint = 'add to cloud.toml: [alerts.webhooks] and a line such as chat = "https://...", or mqtt = true under [alerts]'
        raise InvalidConfig("cloud.toml names nobody to tell", hint=hint)
    for name in args.channels:
        if name not in known:
            raise InvalidConfig(f"there is no channel '{name[:60]}'", hint=f"there are: {', '.join(sorted(known))}")
    ends = []
    with contextlib.closing(link):
        for channel in channels:
            if args.channels and channel.name not in args.channels:
                continue
            try:
                channel.send(body)
                ends.append({"channel": channel.name, "taken": True, "why": ""})
            except PlumblineError as error:
                ends.append({"channel": channel.name, "taken": False, "why": error.one_line()})
            finally:
                channel.close()
    if args.json:
        print_json(ends)
    else:
        for end in ends:
            print(f"{end['channel']}: {'taken' if end['taken'] else 'not taken: '}{end['why']}")
    return 0 if all(end["taken"] for end in ends) else 3


class _Link:
    """`cloud.ports.link.Link` that connects when something is to be said, and says goodbye after it."""

    def __init__(self, settings: CloudSettings) -> None:
        self._settings = settings
        self._link: Any = None

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> bool:
        from cloud.clock import SystemClock
        from cloud.ingest_wiring import broker_context, brokers_of, make_arrivals, make_link

        settings = self._settings
        # A name of its own: the server is connected under the one in cloud.toml, and would be cut off.
        client_id = f"{settings.broker.client_id}-alerts-{secrets.token_hex(4)}"
        self._link = make_link(
            brokers_of(settings), client_id, make_arrivals(), SystemClock().now,
            tls=broker_context(settings), announce=False, channels=False,
        )  # fmt: skip
        self._link.start()
        until = time.monotonic() + _CONNECT_S
        while not self._link.connected():
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return bool(self._link.publish(topic, payload, qos=qos, retain=retain))

    def connections(self) -> int:
        return 0

    def connected(self) -> bool:
        return self._link is not None and bool(self._link.connected())

    def close(self) -> None:
        if self._link is not None:
            self._link.stop()


def _shown(notice: Notice) -> dict[str, Any]:
    return {
        **asdict(notice),
        "need": {**asdict(notice.need), "members": sorted(notice.members)},
        "state": _state(notice),
    }


def _state(notice: Notice) -> str:
    if notice.closed_at is not None:
        return f"over {_time(notice.closed_at)}"
    return "open"


def _post_state(post: Post) -> str:
    return "waits" if post.sent_at is None else "given up"


def _plain(text: str, most: int) -> str:
    plain = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return plain if len(plain) <= most else plain[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
