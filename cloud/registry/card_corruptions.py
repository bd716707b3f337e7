"""What a model card says of an artefact under corruptions."""

from __future__ import annotations

from collections.abc import Sequence

from cloud.gate.scorecard import CorruptionFigures
from cloud.registry.card_text import plain, share_of

# More fields than these, and a kind is a row.
_ROW_BY_ROW = 24
_REMARK = "\nThe images are held-back ones, corrupted by computation; a real lens or lamp may do worse."


def corruption_table(figures: Sequence[CorruptionFigures]) -> str:
    """Return the figures as a Markdown table, field by field, or kind by kind where there are many."""
    if not figures:
        return "Not measured."
    if len(figures) <= _ROW_BY_ROW:
        rows = ["| corruption | severity (1 to 5) | share named right (95 % interval) |", "|---|---|---|"]
        rows += [
            f"| {plain(each.kind)} | {each.severity} | {share_of(each.correct, each.images)} |" for each in figures
        ]
        return "\n".join([*rows, _REMARK])
    severities = sorted({each.severity for each in figures})
    by_field = {(each.kind, each.severity): each for each in figures}
    rows = [
        f"| corruption | {' | '.join(f'at {severity}' for severity in severities)} | all severities (95 % interval) |",
        "|---|" + "---|" * (len(severities) + 1),
    ]
    for kind in _kinds(figures):
        fields = [_share(by_field.get((kind, severity))) for severity in severities]
        rows.append(f"| {plain(kind)} | {' | '.join(fields)} | {share_of(*_pooled(figures, kind))} |")
    rows.append("\nShares named right by severity, 1 mild to 5 severe.")
    return "\n".join([*rows, _REMARK])


def weakest_corruption(figures: Sequence[CorruptionFigures]) -> list[str]:
    """Return the line on what it bears least; none where nothing was measured."""
    measured = [each for each in figures if each.images]
    if not measured:
        return []
    if len(measured) > _ROW_BY_ROW:
        # Of so many fields of few images the lowest is chance; of kinds it is not.
        counts = {kind: _pooled(measured, kind) for kind in _kinds(measured)}
        kind = min(counts, key=lambda each: counts[each][0] / counts[each][1])
        return [f"- Weakest under corruption: {plain(kind)}, {share_of(*counts[kind])}."]
    worst = min(measured, key=lambda each: each.correct / each.images)
    return [
        f"- Weakest under corruption: {plain(worst.kind)} of severity {worst.severity}, {share_of(worst.correct, worst.images)}."
    ]


def _kinds(figures: Sequence[CorruptionFigures]) -> list[str]:
    return list(dict.fromkeys(each.kind for each in figures))


def _pooled(figures: Sequence[CorruptionFigures], kind: str) -> tuple[int, int]:
    return (
        sum(each.correct for each in figures if each.kind == kind),
        sum(each.images for each in figures if each.kind == kind),
    )


def _share(each: CorruptionFigures | None) -> str:
    return f"{each.correct / each.images:.2f}" if each is not None and each.images else "not measured"
