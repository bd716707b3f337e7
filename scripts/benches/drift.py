"""Drift from sketches beside what others do, on real tiles: `./scripts/bench drift`.

Table 1 is cost and size of sketches, 2 the power of one window at 1 % false positives, 3 run length and delay of a watch over
windows, 4 a simulated fleet. Everything is drawn from fixed seeds. Without `.venv-peers/drift` (`--peers` makes it) whylogs, KLL
and River are left out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence

from scripts.benches.drift_peer_venv import install_drift_peers, peers_installed
from scripts.benches.drift_peers import peer_contenders
from scripts.benches.drift_tables import SIZES, drift_tables
from scripts.benches.fleet_watch import measure_fleet
from scripts.benches.own_judge import OwnJudge, own_limit, watch_streams
from scripts.benches.run_lengths import (
    NOMINAL_WINDOWS,
    Stream,
    StreamEffort,
    changing_streams,
    measure_delay,
    measure_run_length,
    quiet_streams,
)
from scripts.benches.sketch_costs import own_costs, peer_costs
from scripts.benches.stream_peers import river_alarms
from scripts.benches.tiles import Condition, TilePool, load_pool, tile_images
from scripts.benches.window_power import Contender, Effort, Power, measure_power

Figures = dict[str, float]

_WHOLE = (Effort(), StreamEffort(), 10_000)
_QUICK = (Effort(splits=20, calibration=5, test=1), StreamEffort(streams=5, quiet=100, before=20, after=60), 500)


def measure(*, quick: bool = False, peers: bool = False) -> Figures:
    """Return the `drift.*` figures, each share with its 95 % interval as `_low` and `_high`; progress goes to stderr.

    Raises:
        NotFound: the tiles are not there.
        RefusedError: the peers cannot be installed, or failed.
    """
    windows, streams, frames = _QUICK if quick else _WHOLE
    if peers:
        install_drift_peers(_say)
    installed = peers_installed()
    if not installed:
        _say("whylogs, KLL and River are not installed; --peers installs them")
    pool = load_pool(tile_images())
    _say(f"{len(pool.tiles)} tiles of {tile_images()}, {len(Condition)} conditions")
    figures = own_costs(pool, frames) | (peer_costs(pool, frames) if installed else {})
    figures |= _powers(pool, windows)
    figures |= _streams(pool, streams, river=installed)
    return figures | measure_fleet(_say, quick=quick)


def table(figures: Mapping[str, float]) -> str:
    """Return the tables."""
    return drift_tables(figures)


def _powers(pool: TilePool, effort: Effort) -> Figures:
    figures: Figures = {}
    for contender in (Contender("", OwnJudge, own_limit), *peer_contenders(pool)):
        begun = time.perf_counter()
        for frames in SIZES:
            figures |= _of_power(contender.key, frames, measure_power(pool, contender, frames, effort))
        _say(f"power of {contender.key or 'plumbline'}: {time.perf_counter() - begun:.0f} s")
    return figures


def _of_power(key: str, frames: int, power: Power) -> Figures:
    name = f"drift.{key}_" if key else "drift."
    figures = power.false_positives.figures(f"{name}fpr_calibrated_n{frames}")
    if power.conventional is not None:
        figures |= power.conventional.figures(f"{name}fpr_n{frames}")
    for condition, share in power.power.items():
        figures |= share.figures(f"{name}power_{condition.value}_n{frames}")
    return figures


def _streams(pool: TilePool, effort: StreamEffort, *, river: bool) -> Figures:
    quiet, changing = quiet_streams(pool, effort), changing_streams(pool, effort, Condition.EXPOSURE_4)
    figures: Figures = {}
    begun = time.perf_counter()
    figures |= _of_watch("", quiet, watch_streams(quiet), changing, watch_streams(changing))
    figures["drift.heldout_arl_ratio"] = figures["drift.run_windows"] / NOMINAL_WINDOWS
    # Windows are hourly. Where most are never found, it is at least as long as was waited.
    figures["drift.delay_exp4_h"] = figures.get("drift.delay_exp4_windows", float(effort.after))
    _say(f"plumbline over {len(quiet) + len(changing)} streams: {time.perf_counter() - begun:.0f} s")
    if river:
        begun = time.perf_counter()
        at_rest, at_change = river_alarms(quiet), river_alarms(changing)
        for name in at_rest:
            figures |= _of_watch(name, quiet, at_rest[name], changing, at_change[name])
        _say(f"River over {len(quiet) + len(changing)} streams: {time.perf_counter() - begun:.0f} s")
    return figures


def _of_watch(
    key: str,
    quiet: Sequence[Stream],
    at_rest: Sequence[Sequence[int]],
    changing: Sequence[Stream],
    at_change: Sequence[Sequence[int]],
) -> Figures:
    name = f"drift.{key}_" if key else "drift."
    delay = measure_delay(changing, at_change)
    return (
        measure_run_length(quiet, at_rest).figures(f"{name}run_windows")
        | delay.median.figures(f"{name}delay_exp4_windows")
        | delay.found.figures(f"{name}found_exp4")
        | delay.false_starts.figures(f"{name}false_start_exp4")
    )


def _say(text: str) -> None:
    print(f"[bench] {text}", file=sys.stderr, flush=True)
