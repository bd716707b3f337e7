"""What the fleet costs, in lines that a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloud.dashboard.paged_table import Cell
from cloud.ports.alarms import Retrain
from cloud.store.costs import DAY_S, Cost, Costs

DAYS = 28

_MINUTE_S = 60.0
_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def cost_lines(costs: Costs, retrains: Sequence[Retrain], now: float) -> Sequence[Mapping[str, Cell]]:
    """Return a line for each thing that was counted in the last 28 days; () where nothing was."""
    today = int(now // DAY_S)
    spent = costs.totals(today - DAYS + 1, today)
    trained = [each for each in retrains if each.started_at >= (today - DAYS + 1) * DAY_S]
    if not spent and not trained:
        return ()
    minutes = sum(max((each.ended_at or now) - each.started_at, 0.0) for each in trained) / _MINUTE_S
    amounts = (
        ("Summaries from stations", _size(spent.get(Cost.SUMMARY_BYTES, 0.0))),
        ("Images for review", f"{spent.get(Cost.IMAGES, 0.0):,.0f} ({_size(spent.get(Cost.IMAGE_BYTES, 0.0))})"),
        (
            "Second opinions given",
            f"{spent.get(Cost.ANSWERED, 0.0):,.0f} ({_size(spent.get(Cost.FALLBACK_BYTES, 0.0))})",
        ),
        ("Second opinions refused early", f"{spent.get(Cost.REFUSED, 0.0):,.0f}"),
        ("Retrains", f"{len(trained)}, {minutes:,.0f} minutes in all"),
    )
    return tuple({"What": what, f"Last {DAYS} days": amount} for what, amount in amounts)


def _size(amount: float) -> str:
    return next((f"{amount / size:,.1f} {name}" for size, name in _UNITS if amount >= size), f"{amount:,.0f} B")
