"""The charts of the gate's report, each from a scorecard. Every number drawn is also told in words or counts."""

from __future__ import annotations

from collections import Counter

from markupsafe import Markup

from cloud.gate.binomial import lower_bound, upper_bound
from cloud.gate.corruptions import SEVERITIES
from cloud.gate.scorecard import GateRules, Scorecard
from cloud.quantize.report_svg import BLUE, GREY, INK, ORANGE, caption, element, line, mix, on, picture, rect, text

MAX_LABELS = 20
_SIDE = 300.0
_TWO_SIDED = 0.975


def shown_labels(card: Scorecard) -> list[str]:
    """Return the labels that charts show: all, or those with the most mistakes, in the model's order."""
    every = list(dict.fromkeys([each.label for each in card.classes] + [cell.truth for cell in card.confusion]))
    mistakes = Counter(dict.fromkeys(every, 0))
    for cell in card.confusion:
        if cell.truth != cell.named:
            mistakes[cell.truth] += cell.images
            mistakes[cell.named] += cell.images
    kept = {name for name, _ in mistakes.most_common(MAX_LABELS)}
    return [name for name in every if name in kept]


def confusion_matrix(card: Scorecard) -> Markup:
    """Return truth by row, name by column; blue is right, orange is wrong, the darker the larger the share of the row."""
    labels = shown_labels(card)
    counts = {(cell.truth, cell.named): cell.images for cell in card.confusion}
    totals: Counter[str] = Counter()
    for cell in card.confusion:
        totals[cell.truth] += cell.images
    size = 44.0 if len(labels) <= 12 else 28.0
    left, top = 150.0, 110.0
    drawn = []
    for row, truth in enumerate(labels):
        y = top + row * size
        drawn.append(text(left - 8, y + size / 2 + 4, truth, text_anchor="end"))
        for column, named in enumerate(labels):
            images = counts.get((truth, named), 0)
            share = images / totals[truth] if totals[truth] else 0.0
            # A few mistakes must be seen too.
            depth = 0.15 + 0.85 * share if images else 0.0
            x = left + column * size
            fill = mix(BLUE if truth == named else ORANGE, depth)
            drawn.append(rect(x, y, size - 2, size - 2, fill=fill, stroke="#e3e6ea"))
            if images:
                drawn.append(
                    text(x + size / 2 - 1, y + size / 2 + 3, str(images), text_anchor="middle", fill=on(depth))
                )
        drawn.append(text(left + len(labels) * size + 6, y + size / 2 + 4, f"of {totals[truth]}", fill=GREY))
    for column, named in enumerate(labels):
        x = left + column * size + size / 2
        drawn.append(text(x, top - 8, named, transform=f"rotate(-40 {x:.1f} {top - 8:.1f})"))
    width = left + len(labels) * size + 120
    drawn.append(text(8, top - 8, "truth, by row", fill=GREY))
    return picture(width, top + len(labels) * size + 8, "Confusion matrix: truth by row, name by column", *drawn)


def reliability_diagram(card: Scorecard) -> Markup:
    """Return the share right against confidence, with 95 % intervals; bars below tell how many images."""
    x0, y0, below = 52.0, 14.0, 60.0
    drawn = _axes(x0, y0, "confidence", "named right")
    drawn.append(line(x0, y0 + _SIDE, x0 + _SIDE, y0, stroke_dasharray="5 4"))
    most = max((each.images for each in card.reliability), default=1)
    base = y0 + _SIDE + 46 + below
    for each in card.reliability:
        x = x0 + each.confidence * _SIDE
        low, high = _interval(each.correct, each.images)
        drawn.append(line(x, y0 + (1 - low) * _SIDE, x, y0 + (1 - high) * _SIDE, stroke=BLUE, stroke_width=2))
        share = each.correct / each.images
        tip = element("title", f"{each.images} images, confidence {each.confidence:.3f}, right {share:.3f}")
        drawn.append(element("circle", tip, cx=x, cy=y0 + (1 - share) * _SIDE, r=5, fill=BLUE))
        height = below * each.images / most
        drawn.append(rect(x - 7, base - height, 14, height, tip, fill=mix(BLUE, 0.45)))
    drawn.append(caption(x0, base + 16, f"images by confidence (tallest: {most})", fill=GREY))
    return picture(x0 + _SIDE + 24, base + 24, "Reliability diagram: share right against confidence", *drawn)


def corruption_chart(card: Scorecard, incumbent: Scorecard | None) -> Markup:
    """Return kinds by severities: accuracy in percent, and points won or lost against the incumbent where there is one."""
    ours = {(each.kind, each.severity): each for each in card.corruptions if each.images}
    theirs = {(e.kind, e.severity): e for e in incumbent.corruptions if e.images} if incumbent else {}
    kinds = list(dict.fromkeys(each.kind for each in card.corruptions))
    left, top, wide, high = 96.0, 48.0, 56.0, 26.0
    second = left + len(SEVERITIES) * wide + 40
    panels = [(left, "accuracy, %")] + ([(second, "against the incumbent, points")] if theirs else [])
    drawn = []
    for x0, title in panels:
        drawn.append(caption(x0, 16, title, font_weight="600", font_size=12))
        for place, severity in enumerate(SEVERITIES):
            drawn.append(text(x0 + place * wide + wide / 2, 38, str(severity), text_anchor="middle", fill=GREY))
    for row, kind in enumerate(kinds):
        y = top + row * high
        drawn.append(text(left - 8, y + 17, kind, text_anchor="end"))
        for place, severity in enumerate(SEVERITIES):
            figures, other = ours.get((kind, severity)), theirs.get((kind, severity))
            if figures is None:
                continue
            share = figures.correct / figures.images
            tip = element("title", f"{kind} {severity}: {figures.correct} of {figures.images}")
            drawn.append(_field(left + place * wide, y, wide, high, BLUE, 0.9 * share, f"{100 * share:.0f}", tip))
            if other is not None:
                points = 100 * (share - other.correct / other.images)
                colour = BLUE if points >= 0 else ORANGE
                tip = element("title", f"{kind} {severity}: the incumbent {other.correct} of {other.images}")
                words = f"{points:+.0f}" if round(points) else "0"
                drawn.append(_field(second + place * wide, y, wide, high, colour, abs(points) / 50, words, tip))
    width = (second if theirs else left) + len(SEVERITIES) * wide + 20
    return picture(width, top + len(kinds) * high + 8, "Accuracy by kind and severity of corruption", *drawn)


def recall_chart(card: Scorecard, incumbent: Scorecard | None, rules: GateRules) -> Markup:
    """Return each label's recall with its 95 % interval; the incumbent's as a diamond, floors dashed."""
    shown = set(shown_labels(card))
    rows = [each for each in card.classes if each.label in shown]
    theirs = {e.label: e.recalled / e.images for e in incumbent.classes if e.images} if incumbent else {}
    left, top, high, wide = 160.0, 26.0, 28.0, 460.0
    bottom = top + len(rows) * high
    drawn = []
    for tenth in range(0, 11, 2):
        x = left + tenth / 10 * wide
        drawn.append(line(x, top, x, bottom, stroke="#e3e6ea"))
        drawn.append(text(x, bottom + 16, f"{tenth * 10} %", text_anchor="middle", fill=GREY))
    floor = left + rules.min_recall * wide
    drawn.append(line(floor, top - 4, floor, bottom, stroke=ORANGE, stroke_dasharray="5 4"))
    drawn.append(text(floor, top - 10, f"floor {rules.min_recall:g}", text_anchor="middle", fill=ORANGE))
    for row, each in enumerate(rows):
        y = top + row * high + high / 2
        drawn.append(text(left - 8, y + 4, each.label, text_anchor="end"))
        if not each.images:
            drawn.append(text(left + 8, y + 4, "no image held back", fill=GREY))
            continue
        low, far = _interval(each.recalled, each.images)
        share = each.recalled / each.images
        drawn.append(line(left + low * wide, y, left + far * wide, y, stroke=BLUE, stroke_width=3))
        tip = element("title", f"{each.recalled} of {each.images}, {low:.3f} to {far:.3f}")
        drawn.append(element("circle", tip, cx=left + share * wide, cy=y, r=5.5, fill=BLUE))
        if each.label in theirs:
            x = left + theirs[each.label] * wide
            points = f"{x - 6:.1f},{y:.1f} {x:.1f},{y - 6:.1f} {x + 6:.1f},{y:.1f} {x:.1f},{y + 6:.1f}"
            drawn.append(element("polygon", points=points, fill="none", stroke=INK, stroke_width=1.5))
        drawn.append(text(left + wide + 14, y + 4, f"{each.recalled} of {each.images}", fill=GREY))
    return picture(left + wide + 110, bottom + 24, "Recall of each label with 95 % intervals", *drawn)


def score_scatter(card: Scorecard) -> Markup:
    """Return the artefact's score against full precision's, of the label that full precision names; area is images."""
    x0, y0 = 52.0, 14.0
    drawn = _axes(x0, y0, "full precision", "model that ships")
    drawn.append(line(x0, y0 + _SIDE, x0 + _SIDE, y0, stroke_dasharray="5 4"))
    for cell in sorted(card.score_cells, key=lambda each: -each.images):
        tip = element("title", f"{cell.images} images: {cell.fp32} % and {cell.shipped} %")
        far = abs(cell.fp32 - cell.shipped) > 10
        place = {"cx": x0 + cell.fp32 / 100 * _SIDE, "cy": y0 + (1 - cell.shipped / 100) * _SIDE}
        radius = min(2.5 + 1.2 * cell.images**0.5, 16.0)
        drawn.append(element("circle", tip, **place, r=radius, fill=ORANGE if far else BLUE, fill_opacity=0.55))
    return picture(x0 + _SIDE + 24, y0 + _SIDE + 46, "Scores of the model that ships against full precision", *drawn)


def _axes(x0: float, y0: float, across: str, up: str) -> list[Markup]:
    drawn = [rect(x0, y0, _SIDE, _SIDE, fill="none", stroke="#c9ced6")]
    for quarter in range(5):
        at = quarter / 4 * _SIDE
        drawn.append(text(x0 + at, y0 + _SIDE + 16, f"{quarter * 25} %", text_anchor="middle", fill=GREY))
        drawn.append(text(x0 - 6, y0 + _SIDE - at + 4, f"{quarter * 25} %", text_anchor="end", fill=GREY))
        if 0 < quarter < 4:
            drawn.append(line(x0, y0 + at, x0 + _SIDE, y0 + at, stroke="#eceff2"))
            drawn.append(line(x0 + at, y0, x0 + at, y0 + _SIDE, stroke="#eceff2"))
    drawn.append(text(x0 + _SIDE / 2, y0 + _SIDE + 34, across, text_anchor="middle"))
    turned = f"rotate(-90 12 {y0 + _SIDE / 2:.1f})"
    drawn.append(text(12, y0 + _SIDE / 2, up, text_anchor="middle", transform=turned))
    return drawn


def _field(x: float, y: float, wide: float, high: float, colour: str, depth: float, words: str, tip: Markup) -> Markup:
    box = rect(x, y, wide - 2, high - 2, tip, fill=mix(colour, depth), stroke="#e3e6ea")
    return box + text(x + wide / 2 - 1, y + high / 2 + 3, words, text_anchor="middle", fill=on(depth))


def _interval(hits: int, trials: int) -> tuple[float, float]:
    return lower_bound(hits, trials, _TWO_SIDED), upper_bound(hits, trials, _TWO_SIDED)


def left_out(labels: list[str], every: int) -> str:
    """Return what is said of labels that a chart leaves out, "" when it shows all."""
    return f"{len(labels)} of {every} labels are shown, those with the most mistakes." if len(labels) < every else ""
