"""The model card of a bundle: what a person who answers for quality should know before trusting it, in Markdown.

Written from figures that others measured; what was not measured is said to be missing. The same facts give the same bytes, so
there is no date in it: the manifest has that.
Source of the headings: Mitchell et al. 2019, "Model cards for model reporting".
"""

from __future__ import annotations

from cloud.gate.look_checks import in_words
from cloud.gate.scorecard import GateReport
from cloud.registry.card_corruptions import corruption_table, weakest_corruption
from cloud.registry.card_facts import CardFacts, TrainingNote
from cloud.registry.card_text import MAX_SHOWN, listed, plain, share_of, table_row
from cloud.registry.compatibility import needs_in_words
from contract.manifest import LabelKind, OutputKind

MODEL_CARD_NAME = "model_card.md"
_NOT_KNOWN = "not known"
_FEW = 50


def write_card(facts: CardFacts) -> str:
    """Return the card as Markdown."""
    sections = (
        (f"{facts.name} {facts.version}", _head(facts)),
        ("Intended use", _intended_use(facts)),
        ("Labels", _labels(facts)),
        ("Training data", _training(facts.training)),
        ("Accuracy", _accuracy(facts)),
        ("Under corruptions", corruption_table(facts.gate.card.corruptions if facts.gate else ())),
        ("Automatic decisions", _thresholds(facts)),
        ("Gate", _gate(facts.gate)),
        ("Model files and quantization", _artefacts(facts)),
        ("What it needs", _needs(facts)),
        ("Known limits", _limits(facts)),
        ("Lineage", _lineage(facts)),
    )
    parts = [
        f"{'#' if number == 0 else '##'} {plain(title)}\n\n{body}" for number, (title, body) in enumerate(sections)
    ]
    return "\n\n".join(parts) + "\n"


def _head(facts: CardFacts) -> str:
    if facts.simulated:
        return "**Trained on simulated images. It says nothing about real parts and must not judge any.**"
    if facts.training is None:
        return "A third party's model, imported as it came. What is not stated below was not stated to Plumbline."
    return "A classifier of single images for visual inspection, trained, measured and released by Plumbline."


def _intended_use(facts: CardFacts) -> str:
    spec = facts.preprocess
    names = {kind: [plain(label.name) for label in facts.labels if label.kind is kind] for kind in LabelKind}
    colours = "grey" if spec.channels == 1 else "colour"
    several = "one or more" if facts.artefacts[0].output is OutputKind.INDEPENDENT else "one"
    lines = [
        f"- Names {several} of {len(facts.labels)} labels for one {colours} image of a part, made {spec.width} x {spec.height} "
        "pixels.",
        f"- Good: {listed(names[LabelKind.GOOD]) or 'none of its labels, so nothing passes automatically'}.",
        f"- Defects: {listed(names[LabelKind.DEFECT]) or 'none of its labels, so nothing is rejected automatically'}.",
        "- Meant for parts, cameras, optics and lighting like those of its training data"
        + ("" if facts.training else ", which is not known here")
        + ". It is not meant for safety functions.",
    ]
    return "\n".join(lines)


def _labels(facts: CardFacts) -> str:
    counts = {label: (train, held) for label, train, held in facts.training.images} if facts.training else {}
    recalls = {each.label: each for each in facts.gate.card.classes} if facts.gate else {}
    shown = facts.labels[:MAX_SHOWN]
    rows = [
        "| label | means | training images | held back | found when held back (95 % interval) |",
        "|---|---|---|---|---|",
    ]
    for label in shown:
        train, held = counts.get(label.name, (_NOT_KNOWN, _NOT_KNOWN))
        recall = recalls.get(label.name)
        found = share_of(recall.recalled, recall.images) if recall else "not measured"
        rows.append(f"| {plain(label.name)} | {label.kind.value} | {train} | {held} | {found} |")
    if len(facts.labels) > len(shown):
        rows.append(f"\nand {len(facts.labels) - len(shown)} more labels, in the manifest.")
    return "\n".join(rows)


def _training(training: TrainingNote | None) -> str:
    if training is None:
        return "Not known: neither the images, nor who labelled them, nor how it was trained."
    total = sum(train for _, train, _ in training.images)
    lines = [f"- {total} training images, {training.reviewed_images} of them reviewed on the line."]
    each = f" ({listed([str(count) for count in training.labelled_images])} images)" if training.labelled_images else ""
    lines.append(
        f"- Labels come from {training.labellers} sources{each}; {training.audited_images} images were drawn at random for audit."
    )
    lines.append(f"- Dataset by content: {training.dataset_sha256 or _NOT_KNOWN}.")
    lines.append(f"- Recipe: {plain(training.recipe) or _NOT_KNOWN}.")
    if training.teacher:
        lines.append(
            f"- Distilled: it learnt from the answers of {plain(training.teacher)} too, and may share its mistakes."
        )
    if training.pruned:
        lines.append(f"- Pruned: {training.pruned:.0%} of its channels were taken away, and the rest trained on.")
    lines += [f"- Warning of the training: {plain(warning)}" for warning in training.warnings]
    return "\n".join(lines)


def _accuracy(facts: CardFacts) -> str:
    if facts.gate is None:
        return "Not measured: there is no gate report. Measure it on parts of the line before it decides anything."
    card, incumbent = facts.gate.card, facts.gate.incumbent_card
    rows = ["| on images held back | named right | share (95 % interval) |", "|---|---|---|"]
    if card.fp32_correct is not None:
        shipped, full = "the model that ships (int8)", "the full-precision model it came from (fp32)"
        rows.append(table_row(full, card.fp32_correct, card.base.images))
    else:
        shipped = "the model that ships (full precision)"
    rows.append(table_row(shipped, card.base.correct, card.base.images))
    if card.drift is not None:
        rows.append(
            table_row(
                "the model that ships, on reviewed images of the drifted station", card.drift.correct, card.drift.images
            )
        )
    if incumbent is not None:
        rows.append(
            table_row("the model it replaces, on the same images", incumbent.base.correct, incumbent.base.images)
        )
        if incumbent.drift is not None:
            name = "the model it replaces, on the drifted station's images"
            rows.append(table_row(name, incumbent.drift.correct, incumbent.drift.images))
    if card.fp32_agrees is not None:
        rows.append(f"\nint8 and full precision name the same label on {share_of(card.fp32_agrees, card.base.images)}.")
    if incumbent is None:
        rows.append("\nNo model was in charge before it, so it was compared with none.")
    return "\n".join(rows)


def _thresholds(facts: CardFacts) -> str:
    thresholds = facts.thresholds
    lines = [
        f"- PASS without a person: {plain(_at(thresholds.pass_at))} on good labels together.",
        f"- REJECT without a person: {plain(_at(thresholds.reject_at))} on one defect label.",
        "- Anything else goes to review.",
    ]
    if thresholds.method == "fixed":
        lines.append("- These thresholds were set by hand. They promise nothing about missed defects.")
    else:
        lines.append(f"- How they were chosen: {plain(thresholds.method)}.")
        if thresholds.pass_at < 1:
            lines.append(
                "- What that promises holds for images like those it was chosen on, for the first model file, and for no drifted"
                " camera."
            )
    if facts.gate is not None:
        card = facts.gate.card
        lines += [f"- {plain(in_words(look, card.promise))}" for look in card.looks]
        lines.append(
            f"- On {card.base.images} images held back, {card.passed} passed automatically"
            + (f"; missed defects among them: {share_of(card.missed_defects, card.passed)}." if card.passed else ".")
        )
        lines.append(
            f"- Its confidence is off by {card.calibration_error:.3f} on average (expected calibration error)."
        )
    return "\n".join(lines)


def _gate(gate: GateReport | None) -> str:
    if gate is None:
        return "It was never gated."
    failed = [check.name for check in gate.failures()]
    if gate.passed:
        head = f"Passed all {len(gate.checks)} checks."
    else:
        head = f"**Failed {len(failed)} of {len(gate.checks)} checks, and released all the same: the audit log has who and why.**"
    rows = [
        f"- {'held' if check.passed else '**failed**'}: {plain(check.name)}: {plain(check.sentence)}"
        for check in gate.checks
    ]
    return "\n".join([head, "", *rows])


def _artefacts(facts: CardFacts) -> str:
    notes = {note.file: note for note in facts.notes}
    lines = []
    for rank, artefact in enumerate(facts.artefacts):
        note = notes.get(artefact.file)
        role = "runs" if rank == 0 else "fallback"
        figures = [f"{artefact.runtime.value}", artefact.precision]
        if note is not None:
            if note.method:
                scheme = f"{note.scheme}, " if note.scheme and note.scheme.lower() not in note.method.lower() else ""
                figures.append(f"quantization: {plain(scheme + note.method)}")
            if note.excluded:
                figures.append(f"{note.excluded} nodes left in full precision")
            if note.temperature != 1:
                figures.append(f"scores divided by {note.temperature:.3g} so that confidence is the share right")
            figures.append(f"{note.size_bytes} bytes")
            if note.median_ms is not None:
                figures.append(f"{note.median_ms:g} ms an image where it was made, one thread")
        lines.append(f"- `{plain(artefact.file)}` ({role}): {', '.join(figures)}.")
        own = artefact.thresholds or (note.thresholds if note is not None else None)
        if own is not None:
            lines.append(
                f"  - Its own thresholds: PASS at {plain(_at(own.pass_at))}, REJECT at {plain(_at(own.reject_at))}"
                f" ({plain(own.method)})."
            )
    others = [note for note in facts.notes if note.file not in {artefact.file for artefact in facts.artefacts}]
    for note in others:
        accuracy = "not measured" if note.accuracy is None else f"{note.accuracy:.4f}"
        lines.append(
            f"- Not shipped: `{plain(note.file)}` ({note.precision}, {note.size_bytes} bytes), accuracy {accuracy} when held back."
        )
    if facts.golden_inputs:
        lines.append(
            f"- Every station first answers {facts.golden_inputs} golden inputs, and must be within"
            f" {facts.golden_tolerance:g} of the scores recorded here."
        )
    else:
        lines.append("- There are no golden inputs: a station can only check that it loads.")
    return "\n".join(lines)


def _needs(facts: CardFacts) -> str:
    needs = facts.compatibility
    packages = ", ".join(plain(phrase) for phrase in needs_in_words(needs))
    memory = f"{facts.memory_mib:g} MiB" if facts.memory_mib else "not measured"
    return "\n".join(
        (
            f"- Machines: {listed([plain(each) for each in needs.machines]) or 'any'}.",
            f"- Packages: {packages or 'not stated'}.",
            f"- Memory above an empty process, with the runtime, on the CPU with one thread: {memory}.",
        )
    )


def _limits(facts: CardFacts) -> str:
    at_least = "at least " if facts.artefacts[0].output is OutputKind.INDEPENDENT else ""
    lines = [
        f"- It names {at_least}one of its labels for any image. A defect of a kind it was never shown gets the name of one it"
        " knows, or of a good part.",
        "- Intervals above count chance in the held-back images only. They say nothing of other parts, cameras or lighting.",
    ]
    gate = facts.gate
    if gate is None:
        lines.append("- No accuracy was measured here.")
    else:
        measured = [each for each in gate.card.classes if each.images]
        weak = sorted(measured, key=lambda each: each.recalled / each.images)[:1]
        lines += [
            f"- Weakest label: {plain(each.label)}, {share_of(each.recalled, each.images)} found." for each in weak
        ]
        lines += weakest_corruption(gate.card.corruptions)
    if facts.training is not None:
        few = [label for label, train, _ in facts.training.images if train < _FEW]
        if few:
            lines.append(f"- Fewer than {_FEW} training images: {listed([plain(each) for each in few])}.")
    if facts.simulated:
        lines.append("- Its images are simulated.")
    return "\n".join(lines)


def _lineage(facts: CardFacts) -> str:
    lineage = facts.lineage
    rows = [
        ("dataset", lineage.dataset),
        ("recipe", lineage.recipe),
        ("parent", lineage.parent),
        ("code", lineage.code),
        ("gate report", lineage.gate),
    ]
    if facts.report_sha256:
        rows.append(("gate report for people (report.html)", facts.report_sha256))
    missing = {"parent": "none: trained from scratch, or not known"}
    return "\n".join(f"- {name}: {plain(value) or missing.get(name, _NOT_KNOWN)}" for name, value in rows)


def _at(threshold: float) -> str:
    return f"a confidence of {threshold:.4g} or more" if threshold < 1 else "never, short of certainty"
