"""The gate's report for a person: one HTML file that opens anywhere, prints, and holds no image of a part.

The same facts give the same bytes, so its hash can stand in a model card; there is no date in it for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath

from jinja2 import Environment, StrictUndefined, Template

from cloud.gate.look_checks import in_words
from cloud.gate.scorecard import GateReport, Scorecard
from cloud.quantize import report_charts as charts
from cloud.quantize.report_svg import one_line
from cloud.quantize.report_template import TEMPLATE
from cloud.retrain.run_records import QuantizeReport, RunInfo


@dataclass(frozen=True, slots=True)
class Mistake:
    """A holdout image named wrong. `image`: the first digits of its SHA-256."""

    image: str
    truth: str
    named: str
    confidence: float


def report_page(
    name: str, report: GateReport, info: RunInfo, quantized: QuantizeReport, mistakes: Sequence[Mistake] = ()
) -> str:
    """Return the report as HTML.

    Args:
        name: what the run is called.
        mistakes: worst first.
    """
    card, incumbent = report.card, report.incumbent_card
    drawn = {
        "recall": charts.recall_chart(card, incumbent, report.rules),
        "confusion": charts.confusion_matrix(card) if card.confusion else "",
        "reliability": charts.reliability_diagram(card) if card.reliability else "",
        "scores": charts.score_scatter(card) if card.score_cells else "",
        "corruptions": charts.corruption_chart(card, incumbent) if card.corruptions else "",
    }
    return _template().render(
        name=name,
        report=report,
        card=card,
        incumbent=incumbent,
        failures=report.failures(),
        figures=_figures(card, incumbent),
        charts=drawn,
        left_out=charts.left_out(charts.shown_labels(card), len(info.labels)),
        per_cell=max((each.images for each in card.corruptions), default=0),
        thresholds=_thresholds(quantized),
        looks=[in_words(look, card.promise) for look in card.looks],
        artefacts=quantized.artefacts,
        ships=quantized.ships,
        mistakes=mistakes,
        lineage=_lineage(info),
        warnings=info.warnings,
        simulated=info.simulated,
    )


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, finalize=_shown)
    environment.filters["base_name"] = lambda path: PurePath(path).name
    environment.filters["short_path"] = lambda path: "/".join(PurePath(path).parts[-2:])
    return environment.from_string(TEMPLATE)


def _shown(value: object) -> object:
    # Charts are Markup, a kind of str, made of parts that were cleaned already.
    return one_line(value) if type(value) is str else value


def _figures(card: Scorecard, incumbent: Scorecard | None) -> list[tuple[str, str, str]]:
    def share(part: int | None, whole: int) -> str:
        return "not measured" if part is None or not whole else f"{part / whole:.3f} ({part} of {whole})"

    def row(each: Scorecard) -> list[str]:
        corrupted = [c.correct / c.images for c in each.corruptions if c.images]
        return [
            share(each.base.correct, each.base.images),
            share(each.drift.correct, each.drift.images) if each.drift else "no such images",
            f"{sum(corrupted) / len(corrupted):.3f}" if corrupted else "not measured",
            share(each.automatic, each.base.images),
            share(each.missed_defects, each.passed) if each.passed else "nothing passed",
            _of_newest(each),
            f"{each.calibration_error:.3f}",
            f"{each.median_ms:.2f}",
            f"{each.size_bytes:,}",
        ]

    names = (
        "accuracy on the holdout",
        "accuracy on the drifted slice",
        "mean accuracy under corruptions",
        "decided without a person",
        "defects among automatic PASSes",
        "the same on parts labelled last",
        "calibration error",
        "ms an inference, one thread, here",
        "bytes of the model file",
    )
    ours, theirs = row(card), row(incumbent) if incumbent else [""] * len(names)
    return list(zip(names, ours, theirs, strict=True))


def _of_newest(card: Scorecard) -> str:
    look = next((each for each in card.looks if each.newest), None)
    if look is None:
        return "no such images"
    return f"{look.missed} of {look.passed}" if look.passed else "nothing passed"


def _thresholds(quantized: QuantizeReport) -> list[tuple[str, str, str, str]]:
    rows = [("all without their own", quantized.thresholds)]
    rows += [
        (each.file, quantized.thresholds if each.file == quantized.ships else each.thresholds)
        for each in quantized.artefacts
        if each.thresholds is not None
    ]
    if len(rows) > len(quantized.artefacts):
        rows = rows[1:]
    return [
        (name, "never" if each.pass_at >= 1 else f"{each.pass_at:.3g}", f"{each.reject_at:.3g}", each.method)
        for name, each in rows
    ]


def _lineage(info: RunInfo) -> list[tuple[str, str]]:
    rows = [
        ("dataset", f"{info.dataset_sha256} ({info.dataset})" if info.dataset else info.dataset_sha256),
        ("parent", PurePath(info.parent).name if info.parent else "none: trained from scratch"),
        ("code", info.code),
        ("seed", str(info.seed)),
    ]
    if info.teacher:
        rows.append(("distilled from", PurePath(info.teacher).name))
    return rows
