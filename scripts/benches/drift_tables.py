"""`bench drift`'s figures as tables: flat keys in, text out."""

from __future__ import annotations

from collections.abc import Mapping

from scripts.benches.budget import TARGETS
from scripts.benches.budget import table as budget_table
from scripts.benches.share_interval import titled_table
from scripts.benches.stream_peers import STREAM_PEERS
from scripts.benches.tiles import DRIFTS

SIZES = (20, 50, 100)
# Plumbline's own keys carry no name: they are those of the budgets.
WINDOW_CONTENDERS = {"": "plumbline", "ks_": "KS-Bonferroni", "psi_": "PSI", "mmd_": "pixel MMD"}
_STREAM_CONTENDERS = {"": "plumbline", **{f"{name}_": name.replace("_", " ") for name in STREAM_PEERS}}
_COSTS = {
    "": "plumbline window",
    "whylogs_": "whylogs, rows",
    "whylogs_batch_": "whylogs, data frame",
    "kll_": "KLL(200) x 12",
}
FLEETS = ("fleet", "stress")
_ABSENT = "not installed (--peers installs)"
_NONE = "-"


def cost_table(figures: Mapping[str, float]) -> str:
    """Return table 1."""
    rows: list[tuple[str, ...]] = [("", "us a frame", "bytes kept", "us a merge")]
    for who, title in _COSTS.items():
        if f"drift.cost_{who}us_per_frame" not in figures:
            rows.append((title, _ABSENT, "", ""))
            continue
        # Both ways of feeding whylogs make the same profile.
        kept = who.replace("batch_", "")
        keys = (f"{who}us_per_frame", f"{kept}bytes", f"{kept}merge_us")
        rows.append((title, *(f"{figures[f'drift.cost_{key}']:,.4g}" for key in keys)))
    return titled_table("1 cost and size of sketches", rows)


def power_table(figures: Mapping[str, float]) -> str:
    """Return table 2."""
    rows: list[tuple[str, ...]] = [("", "n", *WINDOW_CONTENDERS.values())]
    measures = {"fpr": "quiet, beyond its convention", "fpr_calibrated": "quiet, at 1 % by calibration"}
    measures |= {f"power_{drift.value}": drift.value for drift in DRIFTS}
    for measure, title in measures.items():
        for size in SIZES:
            keys = [f"drift.{who}{measure}_n{size}" for who in WINDOW_CONTENDERS]
            rows.append((title, str(size), *(_cell(figures, key) for key in keys)))
    return titled_table("2 share of windows of n frames found drifted, at 1 % false positives", rows)


def stream_table(figures: Mapping[str, float]) -> str:
    """Return table 3."""
    titles = ("windows to a false alarm", "exp4: windows to alarm", "exp4: found", "exp4: false start before")
    measures = ("run_windows", "delay_exp4_windows", "found_exp4", "false_start_exp4")
    rows: list[tuple[str, ...]] = [("", *titles)]
    for who, title in _STREAM_CONTENDERS.items():
        cells = [_cell(figures, f"drift.{who}{measure}") for measure in measures]
        if f"drift.{who}found_exp4" not in figures:
            cells = [_ABSENT if who else _NONE, "", "", ""]
        rows.append((title, *cells))
    return titled_table("3 run length and delay on held-out tiles, windows of 20 frames", rows)


def fleet_table(figures: Mapping[str, float]) -> str:
    """Return table 4."""
    rows: list[tuple[str, ...]] = [("", "as assumed", "under stress")]
    plain = {
        "stations": "stations",
        "station_days": "station-days without drift",
        "false_flags": "false flags",
        "shared_flags": "false alarms of cohorts",
        "false_share": "false discoveries of all",
        "drifts": "stations that drift",
        "found": "of them found",
    }
    rows.append(
        ("false flags per 1,000 station-days", *(_cell(figures, f"drift.{who}_flags_per_1000") for who in FLEETS))
    )
    for key, title in plain.items():
        rows.append((title, *(f"{figures.get(f'drift.{who}_{key}', 0.0):,.4g}" for who in FLEETS)))
    for key in sorted({key.split("_delay_")[1] for key in figures if key.startswith("drift.fleet_delay_")}):
        shown = (figures.get(f"drift.{who}_delay_{key}") for who in FLEETS)
        title = f"median hours to alarm, {key.removesuffix('_h').replace('_', ' ')}"
        rows.append((title, *(_NONE if hours is None else f"{hours:.0f}" for hours in shown)))
    return titled_table("4 a simulated fleet, a week enrolled and a week watched, hourly windows", rows)


def drift_tables(figures: Mapping[str, float]) -> str:
    """Return the figures that have targets, then the tables."""
    held = {key: figure for key, figure in figures.items() if key in TARGETS}
    return "\n\n".join(
        (budget_table(held), cost_table(figures), power_table(figures), stream_table(figures), fleet_table(figures))
    )


def _cell(figures: Mapping[str, float], key: str) -> str:
    """Return e.g. "0.93 (0.90-0.95)"; infinite ends, which JSON cannot hold, are left out of the figures."""
    value, low, high = (figures.get(f"{key}{end}") for end in ("", "_low", "_high"))
    if low is None:
        return _NONE
    if value is None:
        return f"never (> {_short(low)})"
    if high is None:
        return f"{_short(value)} (> {_short(low)})"
    return f"{_short(value)} ({_short(low)}-{_short(high)})"


def _short(figure: float) -> str:
    return f"{figure:.2f}" if figure <= 1.0 else f"{figure:,.0f}" if figure >= 10.0 else f"{figure:.1f}"
