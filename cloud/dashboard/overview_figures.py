"""The overview's figures: promises, verdicts of late, and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from nicegui import ui

from cloud.dashboard.charts import axis
from cloud.dashboard.parts import Cell, Column, Kind, Page, Palette, Tone, badge, count, empty, paged_table, words
from cloud.ports.promises import Budget
from cloud.store.fleet_rows import FleetCounts
from cloud.store.verdict_mix import VerdictMix


class BudgetCards:
    """What is left of each promise, a card each."""

    def __init__(self) -> None:
        self._place = ui.row().classes("w-full gap-4")
        self._shown: Sequence[Budget] | None = None

    def show(self, budgets: Sequence[Budget]) -> None:
        """Show them, drawn anew where they changed."""
        if budgets == self._shown:
            return
        self._shown = budgets
        self._place.clear()
        with self._place:
            if not budgets:
                empty("No promise has been counted yet.", "[promises] in cloud.toml says what the fleet promises.")
            for budget in budgets:
                with ui.column().classes("pl-card gap-1 w-72 pl-budget"):
                    text, tone = budget_in_words(budget)
                    words(budget.title.capitalize()).classes("font-bold")
                    badge(text, tone)
                    if budget.share is not None:
                        left = min(max(1.0 - budget.spent, 0.0), 1.0)
                        bar = ui.linear_progress(left, show_value=False).props("size=10px aria-hidden=true")
                        colour = "positive" if left > 0.5 else "warning" if left > 0 else "negative"
                        bar.classes("w-full").props(f"color={colour}")
                    words(budget.words, muted=True)


class CostTable:
    """What the fleet costs, line by line."""

    def __init__(self) -> None:
        self._place = ui.column().classes("w-full")
        self._shown: object = None

    def show(self, rows: Sequence[Mapping[str, Cell]]) -> None:
        """Show rows whose keys are the columns' titles."""
        found = [dict(row) for row in rows]
        if found == self._shown:
            return
        self._shown = found
        self._place.clear()
        with self._place:
            if not found:
                empty(
                    "Nothing was counted yet.",
                    "Bytes, images, cloud calls and GPU time are counted as they come, day by day.",
                )
                return
            # A column's name inside the table is a number: titles are people's words.
            titles = list(found[0])
            columns = [
                Column(f"c{number}", title, Kind.NUMBER if isinstance(found[0][title], int | float) else Kind.TEXT)
                for number, title in enumerate(titles)
            ]
            table = paged_table("costs", columns, title="Costs", nothing="Nothing was counted yet.")
            table.show(
                Page(
                    [{f"c{number}": row.get(title) for number, title in enumerate(titles)} for row in found], len(found)
                )
            )


def budget_in_words(budget: Budget) -> tuple[str, Tone]:
    """Return what is left of a promise, and how that is."""
    if budget.share is None:
        return "nothing counted yet", Tone.PLAIN
    left = max(1.0 - budget.spent, 0.0)
    if left <= 0:
        return "budget spent", Tone.BAD
    return f"{left:.0%} of the budget left", Tone.GOOD if left > 0.5 else Tone.WARN


def enrolling_in_words(counts: FleetCounts) -> str:
    """Return how many stations are enrolling, and how many of them are so new that they have not been heard yet."""
    new = counts.new
    return f"{counts.enrolling:,} enrolling" + (f" ({new:,} new, not heard yet)" if new > 0 else "")


def mix_in_words(mix: VerdictMix) -> str:
    """Return the verdicts of late in a sentence."""
    passed, rejected, review, lost = (
        sum(getattr(bucket, name) for bucket in mix.buckets) for name in ("passed", "rejected", "review", "lost")
    )
    total = passed + rejected + review + lost
    if not total:
        return "No frame in the last hours."
    shares = f"{passed / total:.1%} pass, {rejected / total:.1%} reject, {review / total:.1%} review"
    gone = f", {lost / total:.2%} without a verdict" if lost else ""
    return f"{count(total, 'frame')} since {clock(mix.buckets[0].at)}: {shares}{gone}"


def mix_chart(colours: Palette, mix: VerdictMix) -> dict[str, Any]:
    """Return bars of frames over time, by verdict."""
    named = (("pass", "passed", colours.good), ("reject", "rejected", colours.bad), ("review", "review", colours.warn),
             ("no verdict", "lost", colours.plain))  # fmt: skip
    return {
        "xAxis": axis(colours, type="category", data=[clock(bucket.at) for bucket in mix.buckets]),
        "yAxis": axis(colours, type="value", name="frames"),
        "series": [
            {
                "type": "bar",
                "stack": "verdicts",
                "name": name,
                "itemStyle": {
                    "color": colour,
                    **({"decal": {"symbol": "rect"}} if key in ("rejected", "lost") else {}),
                },
                "data": [getattr(bucket, key) for bucket in mix.buckets],
            }
            for name, key, colour in named
        ],
    }


def clock(at: float) -> str:
    """Return a moment as people write it."""
    return f"{datetime.fromtimestamp(at, timezone.utc):%b %d %H:%M} UTC"
