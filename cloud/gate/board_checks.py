"""Checks of what an inference takes: against the incumbent here, and against budgets where it was measured on boards."""

from __future__ import annotations

from cloud.gate.scorecard import BoardBudget, BoardFigures, GateCheck, GateRules, Scorecard


def latency(candidate: Scorecard, incumbent: Scorecard, rules: GateRules) -> GateCheck:
    """Shown, on the machine of the gate. The slack is for its noise: a stall doubles the median of a tiny model."""
    limit = incumbent.median_ms * rules.max_latency_ratio + rules.latency_slack_ms
    return GateCheck(
        "latency",
        candidate.median_ms <= limit,
        f"one inference takes {candidate.median_ms:.2f} ms, the incumbent's {incumbent.median_ms:.2f} (at most {limit:.2f})",
        {"median_ms": candidate.median_ms, "incumbent_median_ms": incumbent.median_ms, "limit_ms": limit},
    )


def boards(card: Scorecard, rules: GateRules) -> list[GateCheck]:
    """Shown, for every board that the rules name: what was not measured is not within its budget."""
    measured = {each.board: each for each in card.boards}
    return [_board(budget, measured.get(budget.board)) for budget in rules.boards]


def _board(budget: BoardBudget, figures: BoardFigures | None) -> GateCheck:
    parts: list[str] = []
    numbers: dict[str, float] = {}
    held = True
    latency_ms = figures.median_ms if figures is not None else None
    memory_mib = figures.memory_mib if figures is not None else None
    wanted = (
        ("one inference", "ms", budget.latency_ms, latency_ms),
        ("memory", "MiB", budget.memory_mib, memory_mib),
    )
    for what, unit, limit, value in wanted:
        if limit is None:
            continue
        numbers[f"limit_{unit.lower()}"] = limit
        if value is None:
            held = False
            parts.append(f"{what}: not measured on this board (at most {limit:g} {unit})")
            continue
        numbers[unit.lower()] = value
        held = held and value <= limit
        parts.append(f"{what}: {value:g} {unit} (at most {limit:g})")
    source = f", from {figures.source}" if figures is not None and figures.source else ""
    return GateCheck(f"board {budget.board}", held, ("; ".join(parts) or "no limit") + source, numbers)
