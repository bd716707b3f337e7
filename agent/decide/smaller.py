"""Which artefacts of a bundle a station may fall to under pressure, and what that does to the thresholds' guarantee."""

from __future__ import annotations

from contract.manifest import Artefact, Manifest

# int8 is a quarter of fp32 and fp16 half; a file that is smaller by less is the same model in another wrapping.
_WORTH_IT = 0.75


def smaller_artefacts(manifest: Manifest, in_use: Artefact) -> tuple[Artefact, ...]:
    """Return the artefacts that are worth falling to from `in_use`, the smallest first; the station takes the first that loads.

    Labels and preprocessing are the bundle's, so every artefact answers the same question of the same tensor; how its scores are
    read (`output`) is its own and travels along. Bytes stand for time: within one bundle the artefacts are one network in
    several precisions.

    The manifest's thresholds are chosen on the scores of the artefact that stands first, by Learn-then-Test: the bound on missed
    defects among automatic PASSes is about *those* scores. Another precision shifts them, so the bound says nothing of it, even
    where its accuracy is as good, unless it has thresholds of its own (`Artefact.thresholds`).
    """
    sizes = {entry.name: entry.size_bytes for entry in manifest.files}
    enough = _WORTH_IT * sizes[in_use.file]
    # S8S8 is for TensorRT: a CPU takes four times as long for it.
    found = [
        a
        for a in manifest.artefacts
        if a != in_use and sizes[a.file] <= enough and (a.scheme != "s8s8" or in_use.scheme == "s8s8")
    ]
    return tuple(sorted(found, key=lambda artefact: sizes[artefact.file]))
