"""The chart of a camera's evidence: e-values on a logarithmic scale, with the line from which they are an alarm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cloud.dashboard.charts import axis
from cloud.dashboard.drift_view import MOST_SHOWN
from cloud.dashboard.theme import Palette
from cloud.drift.trace import TracePoint

_LEAST_SHOWN = -2.0


def evidence_chart(colours: Palette, *, points: Sequence[TracePoint], threshold: float) -> dict[str, Any]:
    """Return ECharts options: e-values on a logarithmic scale, told as powers of ten."""

    def line(name: str, value: str, colour: str, kind: str) -> dict[str, Any]:
        data = [[point.at * 1000, None if math.isnan(y := getattr(point, value)) else _shown(y)] for point in points]
        return {
            "name": name,
            "type": "line",
            "showSymbol": len(points) < 3,
            "data": data,
            "lineStyle": {"color": colour, "type": kind, "width": 2},
            "itemStyle": {"color": colour},
        }

    held = line("all evidence", "held", colours.series[0], "solid")
    held["markLine"] = {
        "symbol": "none",
        "lineStyle": {"color": colours.bad, "type": "dashed"},
        "label": {"formatter": "alarm", "color": colours.bad, "position": "insideEndTop"},
        "data": [{"yAxis": threshold}],
    }
    most = max([threshold + 1.0, *(_shown(point.held) for point in points)])
    return {
        # As the times beside it.
        "useUTC": True,
        "xAxis": axis(colours, type="time", axisLine={"onZero": False}),
        "yAxis": axis(
            colours,
            type="value",
            name="e-value as a power of ten",
            nameTextStyle={"color": colours.muted, "align": "left"},
            min=_LEAST_SHOWN,
            max=math.ceil(most),
        ),
        "series": [
            held,
            line("what is seen", "inputs", colours.series[1], "dotted"),
            line("what is answered", "outputs", colours.series[2], "dashed"),
        ],
    }


def _shown(log10: float) -> float:
    return round(min(max(log10, _LEAST_SHOWN), MOST_SHOWN), 2)
