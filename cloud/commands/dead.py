"""plumbline-cloud dead: look at messages that could not be stored, try them again, or drop them."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cloud.commands.output import Subparsers, print_json, print_table
from cloud.settings import load_settings
from contract.errors import InvalidConfig

_EXAMPLES = """examples:
  plumbline-cloud dead list --config plant/cloud.toml
  plumbline-cloud dead show 17 --config plant/cloud.toml
  plumbline-cloud dead replay --all --config plant/cloud.toml     # after an upgrade: what it can read now is stored
  plumbline-cloud dead drop 17 18 --config plant/cloud.toml

exit codes: 0 done, 3 some letters are still dead (replay), 1 error"""

_SHOWN_BYTES = 256


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "dead",
        help="list, show, replay or drop messages that could not be stored",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the newest dead letters")
    listing.add_argument("--limit", type=int, default=50, help="how many at most (default %(default)s)")
    listing.set_defaults(run=_list)
    show = actions.add_parser("show", help="show one, and what can be read of it")
    show.add_argument("id", type=int, help="its number")
    show.add_argument("--out", type=Path, metavar="FILE", help="write its payload there, as it came")
    show.set_defaults(run=_show)
    again = actions.add_parser(
        "replay", help="try some again, as if they came now; what is stored is removed from the list"
    )
    drop = actions.add_parser("drop", help="remove some for good")
    again.set_defaults(run=_replay)
    drop.set_defaults(run=_drop)
    for action in (again, drop):
        action.add_argument("ids", type=int, nargs="*", metavar="ID", help="their numbers")
        action.add_argument("--all", action="store_true", help="all there are")
    for action in (listing, show, again, drop):
        action.epilog = _EXAMPLES
        action.formatter_class = argparse.RawDescriptionHelpFormatter
        action.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
        action.add_argument("--json", action="store_true", help="print JSON")


def _list(args: argparse.Namespace) -> int:
    if args.limit < 1:
        raise InvalidConfig(f"--limit {args.limit} must be above 0")
    with _opened(args) as (letters, _):
        found, count = letters.newest(args.limit), letters.count()
    if args.json:
        print_json({"count": count, "letters": [asdict(each) for each in found]})
    else:
        print_table(
            ("id", "received", "topic", "bytes", "reason"),
            [(e.id, _time(e.received_at), _short(e.topic, 60), e.size, _short(e.reason, 100)) for e in found],
        )
        if count != len(found):
            print(f"the newest {len(found)} of {count} dead letters; --limit shows more")
    return 0


def _show(args: argparse.Namespace) -> int:
    with _opened(args) as (letters, _):
        letter = letters.get(args.id)
    if args.out is not None:
        args.out.write_bytes(letter.payload)
    shown = {**asdict(letter.entry), "content": _content(letter.payload), "begins": letter.payload[:_SHOWN_BYTES].hex()}
    if args.json:
        print_json(shown)
        return 0
    entry = letter.entry
    print(f"{entry.id}: {entry.size} bytes on {_short(entry.topic, 200)}, received {_time(entry.received_at)}")
    print(f"  reason: {_short(entry.reason, 600)}")
    print(f"  begins: {shown['begins'] or '(empty)'}")
    if shown["content"] is not None:
        print(json.dumps(shown["content"], indent=2, default=str))
    return 0


def _replay(args: argparse.Namespace) -> int:
    from cloud.clock import SystemClock
    from cloud.dead_replay import replay
    from cloud.store.batches import Batches

    clock, ends = SystemClock(), []
    with _opened(args) as (letters, database):
        commit = Batches(database).commit
        for number in _chosen(args, letters.ids):
            letter = letters.get(number)
            replayed = replay(letter.entry.topic, letter.payload, commit, clock.now())
            if replayed.end.settled:
                # After the commit: cut off in between, it is replayed again and found to be stored already (P1).
                letters.remove([number])
            ends.append({"id": number, "end": replayed.end.value, "settled": replayed.end.settled, "why": replayed.why})
    if args.json:
        print_json(ends)
    else:
        if not ends:
            print("there are none")
        for end in ends:
            print(f"{end['id']}: {end['end']}{': ' + _short(str(end['why']), 300) if end['why'] else ''}")
    return 0 if all(end["settled"] for end in ends) else 3


def _drop(args: argparse.Namespace) -> int:
    with _opened(args) as (letters, _):
        chosen = _chosen(args, letters.ids)
        if not args.all:
            for number in chosen:
                letters.get(number)  # a mistyped number must not pass for one that was dropped
        dropped = letters.remove(chosen)
    if args.json:
        print_json({"dropped": dropped})
    else:
        print(f"{dropped} dropped")
    return 0


def _chosen(args: argparse.Namespace, every: Any) -> list[int]:
    if bool(args.ids) == args.all:
        raise InvalidConfig("name dead letters by their numbers, or use --all", hint="see: plumbline-cloud dead list")
    return every() if args.all else list(dict.fromkeys(args.ids))


@contextlib.contextmanager
def _opened(args: argparse.Namespace) -> Iterator[tuple[Any, Any]]:
    from cloud.store.dead_letters import DeadLetters
    from cloud.store_wiring import open_database

    with contextlib.closing(open_database(load_settings(args.config))) as database:
        yield DeadLetters(database), database


def _content(payload: bytes) -> Any:
    """Return what msgpack or JSON makes of it, None for nothing."""
    import msgspec

    for decode in (msgspec.msgpack.decode, msgspec.json.decode):
        with contextlib.suppress(msgspec.DecodeError, ValueError, RecursionError):
            read = decode(payload)
            if isinstance(read, dict):
                return _brief(read, 0)
    return None


def _brief(value: Any, depth: int) -> Any:
    """Return `value` as JSON can show it: bytes by their length, nothing too deep."""
    if depth > 8:
        return "..."
    if isinstance(value, dict):
        return {str(key)[:100]: _brief(each, depth + 1) for key, each in list(value.items())[:100]}
    if isinstance(value, (list, tuple)):
        return [_brief(each, depth + 1) for each in value[:100]]
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value)} bytes"
    return value[:1000] if isinstance(value, str) else value


def _short(text: str, most: int) -> str:
    plain = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return plain if len(plain) <= most else plain[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
