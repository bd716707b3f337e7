"""Which artefact of a bundle a station falls to under pressure, and what that does to the thresholds' guarantee."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from contract.manifest import Artefact, Manifest, RuntimeKind

# int8 is a quarter of fp32 and fp16 half; a file that is smaller by less is the same model in another wrapping.
_WORTH_IT = 0.75


@dataclass(frozen=True, slots=True)
class Smaller:
    """The artefact to run. `guaranteed`: whether the thresholds were chosen on its own scores.

    Where they were not, a PASS from it must not stand: give REVIEW, as while a drift alarm is open.
    """

    artefact: Artefact
    guaranteed: bool


def smaller_artefact(manifest: Manifest, in_use: Artefact, runtimes: Collection[RuntimeKind]) -> Smaller | None:
    """Return the smallest artefact that is worth falling to from `in_use` and that one of `runtimes` loads; None: there is none.

    Labels and preprocessing are the bundle's, so every artefact answers the same question of the same tensor; how its scores are
    read (`output`) is its own and travels along. Bytes stand for time: within one bundle the artefacts are one network in
    several precisions.

    A bundle has one pair of thresholds. `cloud/quantize/quantize_run.py` chooses them on the scores of the one artefact that
    ships, which stands first, by Learn-then-Test: the bound on missed defects among automatic PASSes is about *those* scores.
    Another precision shifts them, so the bound says nothing of it, even where its accuracy is as good. It holds only when what
    is fallen to is the first artefact itself.
    """
    sizes = {entry.name: entry.size_bytes for entry in manifest.files}
    enough = _WORTH_IT * sizes[in_use.file]
    found = [a for a in manifest.artefacts if a != in_use and a.runtime in runtimes and sizes[a.file] <= enough]
    if not found:
        return None
    chosen = min(found, key=lambda artefact: sizes[artefact.file])
    return Smaller(chosen, guaranteed=chosen == manifest.artefacts[0])
