"""The tables of `bench retrain`, from its figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scripts.benches.budget import TARGETS
from scripts.benches.budget import table as target_table
from scripts.benches.retrain_pictures import Drift
from scripts.benches.retrain_recovery import LABELS, SETS

_SCHEMES = ("fp32", "fp16", "u8s8", "s8s8")
_KINDS = (
    "mislabelled_review",
    "mislabelled_base",
    "under_trained",
    "over_quantized",
    "shortcut_clean_holdout",
    "shortcut_in_the_holdout_too",
)


def retrain_tables(figures: Mapping[str, float]) -> str:
    """Return the three tables, and what of them has a target."""
    with_target = {key: value for key, value in figures.items() if key in TARGETS or key.endswith("minutes")}
    parts = (_schemes(figures), _recovery(figures), _gate(figures), target_table(with_target))
    return "\n\n".join(parts)


def _schemes(figures: Mapping[str, float]) -> str:
    rows: list[tuple[str, ...]] = [("images", "scheme", "accuracy", "drop in points", "ms", "times fp32", "kB")]
    for images in SETS:
        for scheme in _SCHEMES:
            name = f"int8.{images}_{scheme}"
            if f"{name}_acc" in figures:
                keys = (("acc", ".4f"), ("acc_drop_pt", ".2f"), ("ms", ".3f"), ("speedup", ".2f"), ("kb", ".0f"))
                rows.append((images, scheme, *(_shown(figures, f"{name}_{key}", form) for key, form in keys)))
    return "1 What 8 bits cost and gain, at the large width\n" + _aligned(rows)


def _recovery(figures: Mapping[str, float]) -> str:
    curve = (*(f"{n} labels" for n in LABELS), "120, drift seen")
    rows = [("images", "drift", "before", *curve, "oracle", "at 120 by label", "on clean", "s")]
    for images in SETS:
        for drift in Drift:
            name = f"retrain.{images}_{drift.value}"
            if f"{name}_0_acc" not in figures:
                continue
            points = [
                f"{_shown(figures, f'{name}_{n}_acc')} ({_shown(figures, f'{name}_{n}_recovery')})"
                for n in (*LABELS, "120_seen")
            ]
            rows.append(
                (
                    images,
                    drift.value,
                    _shown(figures, f"{name}_0_acc"),
                    *("-" if p == "- (-)" else p for p in points),
                    _shown(figures, f"{name}_oracle_acc"),
                    _shown(figures, f"{name}_120_by_class"),
                    _shown(figures, f"{name}_120_clean_acc"),
                    _shown(figures, f"{name}_120_s", ".0f"),
                )
            )
    sizes = ", ".join(
        f"{images}: {figures[f'retrain.{images}_pool']:.0f} images to label, {figures[f'retrain.{images}_test']:.0f} to judge on"
        for images in SETS
        if f"retrain.{images}_pool" in figures
    )
    title = f"2 Labels that bring a drifted line back: accuracy on drifted images (of the oracle's); {sizes}\n"
    return title + _aligned(rows)


def _gate(figures: Mapping[str, float]) -> str:
    rows: list[tuple[str, ...]] = [("candidates", "made", "right", "confirmed", "right of these")]
    for title, made, right, confirmed, of in (
        ("good, passed", "good", "pass_good", "good_confirmed", "pass_good_confirmed"),
        ("bad, stopped", "bad", "stop_bad", "bad_confirmed", "stop_bad_confirmed"),
        *(
            (f"  {k.replace('_', ' ')}", f"stop_{k}_made", f"stop_{k}", f"stop_{k}_confirmed", f"stop_{k}_of_confirmed")
            for k in _KINDS
        ),
    ):
        keys = ((made, ".0f"), (right, ".3f"), (confirmed, ".0f"), (of, ".3f"))
        rows.append((title, *(_shown(figures, f"gate.{key}", form) for key, form in keys)))
    return "3 The gate's own error rates; confirmed: the test set, which it never sees, says so too\n" + _aligned(rows)


def _shown(figures: Mapping[str, float], key: str, form: str = ".3f") -> str:
    return format(figures[key], form) if key in figures else "-"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
