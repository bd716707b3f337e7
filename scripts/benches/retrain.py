"""From labels to a gated int8 release, on real steel and tiles: `./scripts/bench retrain`.

Table 1 is what 8 bits cost and gain, 2 how many labels bring a drifted line back, 3 the gate's own error rates. Everything is
drawn from fixed seeds. With `--keep FOLDER` what was made stays there: a bench that was stopped goes on where it was, and
`python -m scripts.benches.retrain_gate FOLDER/gate` asks the gate again, under other rules, in seconds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from cloud.retrain.run_records import Recipe
from scripts.benches.retrain_gate import judge, measure_trials, rates, verdict_lines
from scripts.benches.retrain_pictures import Drift
from scripts.benches.retrain_recovery import Effort, measure_recovery
from scripts.benches.retrain_schemes import LARGE_WIDTH, SchemeEffort, measure_schemes
from scripts.benches.retrain_tables import retrain_tables
from scripts.benches.retrain_trials import Bed
from scripts.benches.retrain_workers import say

_QUICK_RECIPE = Recipe(epochs=1, min_steps=40, warm_steps=30, width=0.5)
_QUICK_SCHEMES = SchemeEffort(
    sets=("steel",), side=64, input_px=48, of_label=40, recipe=Recipe(epochs=1, min_steps=20, width=LARGE_WIDTH)
)
_QUICK_RECOVERY = Effort(
    labels=(30, 120),
    sets=("steel",),
    drifts=(Drift.DEFOCUS, Drift.NOISE),
    side=64,
    input_px=48,
    of_label=150,
    recipe=_QUICK_RECIPE,
)


def measure(
    *, quick: bool = False, peers: bool = False, keep: Path | None = None, workers: int | None = None
) -> dict[str, float]:
    """Return the `int8.*`, `retrain.*` and `gate.*` figures; progress goes to stderr.

    Raises:
        NotFound: the images are not there.
    """
    del peers  # there are none
    with ExitStack() as stack:
        root = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plumbline-retrain-")))
        root.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        figures = measure_schemes(root / "schemes", _QUICK_SCHEMES if quick else SchemeEffort(), workers)
        schemes = time.perf_counter()
        figures |= measure_recovery(root / "recovery", _QUICK_RECOVERY if quick else Effort(), workers)
        recovery = time.perf_counter()
        bed = Bed(root / "gate", of_label=60, base_steps=60, corruption_images=6, steps_share=0.1)
        trials = measure_trials(bed if quick else Bed(root / "gate"), 4 if quick else 50, workers)
        verdicts = judge(trials)
        say("\n".join(verdict_lines(verdicts)))
        figures |= rates(verdicts)
        ended = time.perf_counter()
    figures["int8.minutes"] = (schemes - began) / 60
    figures["retrain.minutes"] = (recovery - schemes) / 60
    figures["gate.minutes"] = (ended - recovery) / 60
    return figures


def table(figures: Mapping[str, float]) -> str:
    """Return the tables."""
    return retrain_tables(figures)
