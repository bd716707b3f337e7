"""How rollouts are printed, and followed until they are over."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from cloud.commands.output import plain, print_table
from cloud.dashboard.time_words import ago, lasting
from contract.errors import PlumblineError

OVER = ("DONE", "ABORTED")
_NAMED = 10
_PATIENCE = 30
"""So many questions in a row that nobody answers: a server that is started again is back by then."""

Ask = Callable[[str], Any]


def print_list(rollouts: Sequence[dict[str, Any]], waited_for: Sequence[dict[str, Any]], now: float) -> None:
    """Print a line a rollout, and under them whom the one under way waits for, with what each last said."""
    rows = [
        (
            r["id"],
            r["version"],
            r["kind"],
            r["state"],
            all_words(r),
            f"{ago(now, r['created_at'])} by {r['author'] or 'an older version'}",
            r["hold"] or r["reason"],
        )
        for r in rollouts
    ]
    print_table(("rollout", "version", "kind", "state", "stations", "started", "why"), rows)
    print_waited_for(waited_for, now)


def print_one(rollout: dict[str, Any], stations: Sequence[dict[str, Any]], total: int, now: float) -> None:
    """Print a rollout with its waves and some of its stations."""
    over = f", over since {ago(now, rollout['ended_at'])}" if rollout["ended_at"] is not None else ""
    print(f"rollout {rollout['id']} of {rollout['version']} ({rollout['kind']}): {rollout['state']}{over}")
    for said in filter(None, (rollout["hold"], rollout["reason"])):
        print(f"  {plain(said)}")
    print(f"  started {ago(now, rollout['created_at'])} by {rollout['author'] or 'an older version'}")
    for each in rollout["approvals"]:
        note = f": {plain(each['note'])}" if each["note"] else ""
        print(f"  {'approved' if each['approved'] else 'declined'} by {each['person']} {ago(now, each['at'])}{note}")
    print()
    print_table(("wave", "", "stations"), [(w["number"], w["name"], w["words"]) for w in rollout["waves"]])
    if stations:
        print()
        rows = [
            (
                s["station"],
                s["wave"],
                s["state"],
                "online" if s["online"] else "offline",
                "" if s["ordered_at"] is None else ago(now, s["ordered_at"]),
                s["reason"] or s["said"],
            )
            for s in stations
        ]
        print_table(("station", "wave", "state", "link", "ordered", "why"), rows)
    if total > len(stations):
        print(f"... and {total - len(stations):,} more: --state and --name choose, --limit shows more")


def print_waited_for(stations: Sequence[dict[str, Any]], now: float) -> None:
    """Print whom a rollout waits for, and what each said last of its order."""
    for each in stations[:_NAMED]:
        since = "" if each["ordered_at"] is None else f", ordered {ago(now, each['ordered_at'])}"
        said = each["said"] or ("nothing said yet" if each["online"] else "it is offline")
        print(f"  waits for {each['station']}{since}: {plain(said)}")
    if len(stations) > _NAMED:
        print(f"  ... and for {len(stations) - _NAMED} more")


def all_words(rollout: dict[str, Any]) -> str:
    """Return how many of all stations are what."""
    kinds = ("committed", "failed", "silent", "under_way", "offline", "planned", "recalled", "back", "out")
    own = [wave for wave in rollout["waves"] if wave["name"] != "shadow"]
    called = {"under_way": "under way", "recalled": "ordered back", "out": "left out"}
    sums = [(called.get(kind, kind), sum(wave[kind] for wave in own)) for kind in kinds]
    return ", ".join(f"{number:,} {kind}" for kind, number in sums if number) or "none yet"


def follow(ask: Ask, rollout: int, sleep: Callable[[float], None], within_s: float, clock: Callable[[], float]) -> Any:
    """Return a rollout once it is over, or as it is after `within_s`; say on stderr, wave by wave, how it goes.

    Raises:
        PlumblineError: nobody answers for half a minute.
    """
    began, said, failures = clock(), "", 0
    while True:
        try:
            found = ask(f"/v1/rollouts/{rollout}")
            failures = 0
        except PlumblineError as error:
            failures += 1
            if not error.retry or failures >= _PATIENCE:
                raise
            found = None
        if found is not None:
            if (now_said := _progress(found)) != said:
                said = now_said
                print(f"[{lasting(clock() - began):>6}] {plain(said)}", file=sys.stderr, flush=True)
            if found["state"] in OVER or clock() - began >= within_s:
                return found
        sleep(1.0)


def _progress(rollout: dict[str, Any]) -> str:
    waves = rollout["waves"]
    at = min(rollout["wave"], len(waves) - 1)
    wave = f", {waves[at]['name']} ({at + 1} of {len(waves)}): {waves[at]['words']}" if waves else ""
    hold = f"; {rollout['hold']}" if rollout["hold"] else ""
    return f"rollout {rollout['id']} {rollout['state']}{wave}{hold}"
