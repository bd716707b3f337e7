"""The charts of a station's page, each with the sentence that says what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from cloud.dashboard.charts import axis
from cloud.dashboard.station_figures import NAMES, RANGE_SD, StationFigures, StatisticNow, TimePoint
from cloud.dashboard.theme import Palette

_MOST_LABELS = 20
_FAR_Z = 8.0


def clock(at: float) -> str:
    """Return a moment as people write it, UTC."""
    return f"{datetime.fromtimestamp(at, timezone.utc):%b %d %H:%M:%S}"


def statistics_chart(colours: Palette, found: Sequence[StatisticNow]) -> dict[str, Any]:
    """Return bars of how far each statistic lies from its normal, in sd; the range is the band in the middle."""
    return {
        "legend": {"show": False},
        "xAxis": axis(colours, type="value", min=-_FAR_Z, max=_FAR_Z),
        "yAxis": axis(colours, type="category", inverse=True, data=[each.name for each in found]),
        "series": [
            {
                "type": "bar",
                "name": "sd from normal",
                "data": [
                    {
                        "value": round(min(max(each.z, -_FAR_Z), _FAR_Z), 2),
                        "itemStyle": {"color": colours.info if each.inside else colours.bad,
                                      **({} if each.inside else {"decal": {"symbol": "rect", "dashArrayX": [1, 0]}})},
                    }
                    for each in found
                ],
                "markArea": {
                    "silent": True,
                    "itemStyle": {"color": colours.good, "opacity": 0.15},
                    "data": [[{"xAxis": -RANGE_SD}, {"xAxis": RANGE_SD}]],
                },
            }
        ],
    }  # fmt: skip


def statistics_words(found: Sequence[StatisticNow], frames: int) -> str:
    """Say which statistics are out of their range."""
    out = sorted((each for each in found if not each.inside), key=lambda each: -abs(each.z))
    if not out:
        return f"All {len(found)} statistics of the newest {frames:,} frames are within the enrolled range."
    said = ", ".join(f"{each.name} {each.z:+.1f} sd" for each in out[:4])
    more = f" and {len(out) - 4} more" if len(out) > 4 else ""
    return f"Out of the enrolled range: {said}{more} (of {frames:,} frames)."


def histogram_chart(colours: Palette, figures: StationFigures, number: int) -> dict[str, Any]:
    """Return how one statistic's frames are spread now, and before; the bins are sd from the enrolled centre."""
    edges = [f"{(bin_ - 32) / 8:+.2f}" for bin_ in range(64)]
    return {
        "xAxis": axis(colours, type="category", data=edges),
        "yAxis": axis(colours, type="value", name="% of frames"),
        "series": [
            {"type": "bar", "name": "now", "barCategoryGap": "5%", "itemStyle": {"color": colours.series[0]},
             "data": _shares(figures.histograms[number].tolist())},
            {"type": "line", "name": "before, within the time shown", "step": "middle", "showSymbol": False,
             "lineStyle": {"type": "dashed", "color": colours.series[1]}, "itemStyle": {"color": colours.series[1]},
             "data": _shares(figures.before[number].tolist())},
        ],
    }  # fmt: skip


def histogram_words(figures: StationFigures, number: int) -> str:
    """Say where most frames lie now, and lay before."""
    now, before = _middle(figures.histograms[number].tolist()), _middle(figures.before[number].tolist())
    if now is None:
        return "No frame has told of it."
    said = f"Half of the frames have a {NAMES[number]} below {now:+.1f} sd of the enrolled centre"
    return f"{said}; before, {before:+.1f} sd." if before is not None else f"{said}; there is nothing older to compare."


def labels_chart(colours: Palette, counts: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Return how often each label was the answer."""
    return {
        "legend": {"show": False},
        "xAxis": axis(colours, type="value"),
        "yAxis": axis(colours, type="category", inverse=True, data=[name[:40] for name, _ in counts]),
        "series": [{"type": "bar", "name": "frames", "data": [number for _, number in counts]}],
    }


def named_labels(counts: Sequence[int], names: Sequence[str]) -> list[tuple[str, int]]:
    """Return (label, frames), the most frequent first; what is rare among very many is one "others"."""
    named = [(names[n] if n < len(names) else f"label {n}", number) for n, number in enumerate(counts)]
    named.sort(key=lambda each: -each[1])
    rest = sum(number for _, number in named[_MOST_LABELS:])
    return [*named[:_MOST_LABELS], *([("others", rest)] if rest else [])]


def labels_words(named: Sequence[tuple[str, int]]) -> str:
    """Say what was answered."""
    total = sum(number for _, number in named)
    if not total:
        return "No frame was given a label."
    return ", ".join(f"{name} {number / total:.0%}" for name, number in named if number) + f" of {total:,} frames."


def verdicts_chart(colours: Palette, points: Sequence[TimePoint]) -> dict[str, Any]:
    """Return shares of verdicts over time."""
    kinds = (("pass", "passed", colours.good), ("reject", "rejected", colours.bad), ("review", "review", colours.warn),
             ("no verdict", "lost", colours.plain))  # fmt: skip
    return {
        **_over_time(colours, points, "% of frames", most=100),
        "series": [
            {
                "type": "bar",
                "stack": "verdicts",
                "name": name,
                "barCategoryGap": "5%",
                "itemStyle": {
                    "color": colour,
                    **({"decal": {"symbol": "rect"}} if key in ("rejected", "lost") else {}),
                },
                "data": [
                    round(100.0 * getattr(point, key) / total, 2) if (total := _frames(point)) else None
                    for point in points
                ],
            }
            for name, key, colour in kinds
        ],
    }


def verdicts_words(points: Sequence[TimePoint]) -> str:
    """Say what the verdicts were."""
    total = sum(map(_frames, points))
    if not total:
        return "No frame in this time."
    kinds = (("pass", "passed"), ("reject", "rejected"), ("review", "review"), ("without a verdict", "lost"))
    return ", ".join(f"{sum(getattr(p, key) for p in points) / total:.1%} {name}" for name, key in kinds) + (
        f" of {total:,} frames."
    )


def has_latency(points: Sequence[TimePoint]) -> bool:
    """Return whether any frame told how long it took."""
    return any(point.latency_ms for point in points)


def latency_chart(colours: Palette, points: Sequence[TimePoint]) -> dict[str, Any]:
    """Return the quantiles of latency over time, on a logarithmic scale."""
    chart = _over_time(colours, points, "ms")
    return {
        **chart,
        "yAxis": axis(colours, type="log", name="ms"),
        "series": [
            {
                "type": "line",
                "name": name,
                "showSymbol": len(points) < 3,
                "lineStyle": {"type": style},
                "data": [round(p.latency_ms[n], 3) if p.latency_ms else None for p in points],
            }
            for n, (name, style) in enumerate((("p50", "solid"), ("p95", "dashed"), ("p99", "dotted")))
        ],
    }


def latency_words(points: Sequence[TimePoint]) -> str:
    """Say how long frames took at last."""
    known = [point.latency_ms for point in points if point.latency_ms is not None]
    if not known:
        return "No latency was told in this time."
    p50, p95, p99 = known[-1]
    return f"Of late half of the frames took up to {p50:.3g} ms, 95 % up to {p95:.3g} ms, 99 % up to {p99:.3g} ms."


def has_health(points: Sequence[TimePoint]) -> bool:
    """Return whether the station told how it fares."""
    return any(point.health for point in points)


def health_chart(colours: Palette, points: Sequence[TimePoint]) -> dict[str, Any]:
    """Return temperature, memory and the rung of the degrade ladder over time."""
    told = [point.health for point in points]
    return {
        **_over_time(colours, points, "°C, rung"),
        "yAxis": [axis(colours, type="value", name="°C, rung"), axis(colours, type="value", name="MiB", splitLine={"show": False})],
        "series": [
            _line("hottest °C", [h.hottest_c if h else None for h in told], "solid", 0),
            _line("degrade rung", [h.rung if h else None for h in told], "dotted", 0, step="end"),
            _line("memory MiB", [round(h.memory_mib, 1) if h else None for h in told], "dashed", 1),
        ],
    }  # fmt: skip


def health_words(points: Sequence[TimePoint]) -> str:
    """Say how the station itself fares."""
    known = [point.health for point in points if point.health is not None]
    if not known:
        return "It has not told how it fares: its agent is older than this cloud, or it has sent nothing in this time."
    last = known[-1]
    heat = "it cannot read its temperature" if last.hottest_c is None else f"{last.hottest_c:.0f} °C"
    limit = f" of {last.limit_c:.0f}" if last.limit_c is not None else ""
    slow = ", throttled" if last.throttled else ""
    rung = "no step down" if last.rung == 0 else f"step {last.rung} of the degrade ladder"
    weak = ", short of power" if last.low_power else ""
    takes = "" if last.power_w is None else f" Its board takes {last.power_w:.1f} W."
    left = "" if last.free_memory_mib is None else f" {last.free_memory_mib:,.0f} MiB of the machine's memory are left."
    worn = "" if last.disk_worn is None else f" Its disk has used {last.disk_worn:.0%} of its life."
    return (
        f"Last told: {heat}{limit}{slow}{weak}, {last.memory_mib:,.0f} MiB of memory, {rung}, {last.disk_free_mib:,} MiB free on"
        f" its disk, {last.outbox:,} summaries waiting to be sent.{takes}{left}{worn}"
    )


def _line(name: str, data: list[float | int | None], style: str, axis_: int, **more: Any) -> dict[str, Any]:
    return {"type": "line", "name": name, "showSymbol": len(data) < 3, "yAxisIndex": axis_, "lineStyle": {"type": style},
            "data": data, **more}  # fmt: skip


def _over_time(colours: Palette, points: Sequence[TimePoint], unit: str, most: float | None = None) -> dict[str, Any]:
    limit = {} if most is None else {"max": most}
    return {
        "xAxis": axis(colours, type="category", data=[clock(point.at) for point in points]),
        "yAxis": axis(colours, type="value", name=unit, **limit),
    }


def _frames(point: TimePoint) -> int:
    return point.passed + point.rejected + point.review + point.lost


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [round(100.0 * each / total, 2) if total else 0.0 for each in counts]


def _middle(counts: Sequence[int]) -> float | None:
    total, so_far = sum(counts), 0
    for number, each in enumerate(counts):
        so_far += each
        if total and so_far * 2 >= total:
            return (number + 1 - 32) / 8
    return None
