"""`bench adversarial`: what share of defects an attacker turns into PASS, and what thresholds and refusal leave of it.

Only defects that the artefact names as such when nobody tampers with them are attacked. REVIEW counts as caught. No figure has a
target: Plumbline claims no defence, and says how far one is from having one.

Seen in a full run, of 300 defects, passed by the first guess, by thresholds, after the refusal: +-2 grey levels .70, .65, .64;
+-4 1.00, 1.00, .98; +-8 1.00, 1.00, .99 (noise of 8: .22, .21, .21); a patch of 5 % .68, .57, 0, of 10 % .83, .72, 0.
The refusal sees bold patches, for they change the picture's statistics, and next to nothing of small changes everywhere. Who knows
of it draws the patch fainter: within 48 levels one of 10 % passes .95, .89, .83 of 104 defects.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from scripts.benches.adversarial_attack import in_a_ball, noise, on_a_patch
from scripts.benches.adversarial_model import GOOD, Line, parts, train

EPS = (2, 4, 8)
AREAS = (0.05, 0.1)
# Grey levels: of those tried, what an attacker chooses who knows of the refusal.
FAINT = 48
_SEED = 11


@dataclass(frozen=True, slots=True)
class Effort:
    """How many parts the model learns from and for how many batches, how many parts are tried, and the attack's steps."""

    learnt: int
    batches: int
    tried: int
    steps: int


FULL, QUICK = Effort(3000, 1500, 600, 40), Effort(600, 250, 80, 12)


def measure(*, quick: bool = False, peers: bool = False) -> dict[str, float]:
    """Return the shares; `quick` trains less, on fewer parts. There are no peers."""
    return shares(QUICK if quick else FULL)


def shares(effort: Effort) -> dict[str, float]:
    """Return what share of defects passes, by way of tampering and by what stands against it; the same effort, the same figures."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        network = train(_SEED, effort.learnt, effort.batches)
        line = Line(network, Path(scratch), _SEED + 1)
        pixels, truth = parts(_SEED + 10, effort.tried)
        named = line.named(pixels)
        found = pixels[(truth != GOOD) & (named != GOOD)]
        good = pixels[truth == GOOD]
        figures = {
            "adversarial.defects_attacked": float(len(found)),
            "adversarial.defects_named_good_untouched": float((named[truth != GOOD] == GOOD).mean()),
            "adversarial.good_passed_untouched": line.passes(good).refusal,
            "adversarial.pass_at": line.thresholds.pass_at,
        }
        ways = {"untouched": found, "noise8": noise(found, 8, _SEED)}
        for eps in EPS:
            ways[f"eps{eps}"] = in_a_ball(network, found, eps, steps=effort.steps, seed=_SEED)
        for area in AREAS:
            ways[f"patch{area * 100:.0f}"] = on_a_patch(network, found, area, steps=effort.steps, seed=_SEED)
        ways["faint_patch10"] = on_a_patch(network, found, 0.1, steps=effort.steps, seed=_SEED, reach=FAINT)
        for name, tampered in ways.items():
            passed = line.passes(tampered)
            figures[f"adversarial.{name}_bare"] = passed.bare
            figures[f"adversarial.{name}_thresholds"] = passed.thresholds
            figures[f"adversarial.{name}_refusal"] = passed.refusal
    return figures
