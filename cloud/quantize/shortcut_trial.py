"""Looks for a place beside the part that gives the label away, and tries the likeliest one again (cloud.gate.shortcut)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cloud.gate.scorecard import ShortcutFigures
from cloud.gate.shortcut import Region, mirrors, paste
from cloud.quantize.judge import Judge
from cloud.retrain.dataset import Sample
from contract.preprocess import to_channels

_SCREENED = 256
_EACH_AT_MOST = 8
_AGAIN = 60
_MAX_LABELS = 32
_FEWEST = 10

Pair = tuple[Sample, Sample]


def try_shortcuts(
    candidate: Judge,
    incumbent: Judge | None,
    samples: Sequence[Sample],
    right: NDArray[np.bool_],
    seed: int,
    taught: Sequence[Sample] = (),
) -> ShortcutFigures | None:
    """Return how often the candidate follows the paste that it seems to follow most.

    A few pairs for each region and label find the worst; fresh pairs measure it, so that the figure is no pick of many.

    Args:
        samples: the holdout.
        right: bool[N], which of them the candidate names right; only those are pasted over.
        taught: images that the candidate learnt from, to paste from; () pastes from the holdout. A holdout that was taken
            before the mark came, or cleaned of it, has none to paste.
    Returns: None where fewer than ten images could be pasted over: a model that is right about nothing follows anything.
    """
    generator = np.random.default_rng(seed)
    known = {label.name for label in candidate.contender.labels}
    plain = [sample for sample in taught or samples if not sample.entry.also and sample.entry.label in known]
    targets = [s for s, good in zip(samples, right, strict=True) if good and not s.entry.also]
    donors = {name: [s for s in plain if s.entry.label == name] for name in sorted({s.entry.label for s in plain})}
    over = {name: [s for s in targets if s.entry.label != name] for name in donors}
    names = [name for name in donors if len(over[name]) >= _FEWEST]
    if len(names) > _MAX_LABELS:
        names = [names[place] for place in sorted(generator.choice(len(names), _MAX_LABELS, replace=False))]
    if not names:
        return None
    each = int(np.clip(_SCREENED // (len(Region) * len(names)), 1, _EACH_AT_MOST))
    screened = []
    for name in names:
        pairs = _draw(donors[name], over[name], each, generator)
        ours = _shares(candidate, pairs, name)
        theirs = _shares(incumbent, pairs, name) if incumbent is not None else None
        for region in Region:
            excess = ours[region]
            if theirs is not None:
                elsewhere = sum(ours[mirror] for mirror in mirrors(region)) / len(mirrors(region))
                excess -= max(elsewhere, theirs[region])
            screened.append((excess, region, name))
    _, region, name = max(screened, key=lambda each: each[0])
    pairs = _draw(donors[name], over[name], _AGAIN, generator)
    return ShortcutFigures(
        region=region.value,
        label=name,
        images=len(pairs),
        followed=_followed(candidate, pairs, region, name),
        # One that does not know the label follows nothing to it, which is no evidence that the candidate should not.
        incumbent_followed=_followed(incumbent, pairs, region, name)
        if incumbent is not None and name in incumbent.contender.names()
        else None,
        elsewhere=sum(_followed(candidate, pairs, mirror, name) for mirror in mirrors(region)),
        elsewhere_images=len(mirrors(region)) * len(pairs),
    )


def _shares(judge: Judge, pairs: Sequence[Pair], name: str) -> dict[Region, float]:
    """Return the mean probability that pasted images get for label `name`, by region; 0 for a label that is not known."""
    names = judge.contender.names()
    if name not in names:
        return dict.fromkeys(Region, 0.0)
    place = names.index(name)
    return {region: float(judge.probabilities(_pasted(judge, pairs, region))[:, place].mean()) for region in Region}


def _draw(donors: Sequence[Sample], over: Sequence[Sample], count: int, generator: np.random.Generator) -> list[Pair]:
    """Return pairs (donor, image); either is taken again only when all were."""
    return [
        (donors[first], over[second])
        for first, second in zip(
            _turns(len(donors), count, generator), _turns(len(over), count, generator), strict=True
        )
    ]


def _turns(size: int, count: int, generator: np.random.Generator) -> list[int]:
    rounds = [generator.permutation(size) for _ in range(-(-count // size))]
    return [int(place) for place in np.concatenate(rounds)[:count]]


def _pasted(judge: Judge, pairs: Sequence[Pair], region: Region) -> list[NDArray[np.uint8]]:
    channels = judge.contender.preprocess.channels
    return [
        paste(to_channels(image.pixels, channels), to_channels(donor.pixels, channels), region)
        for donor, image in pairs
    ]


def _followed(judge: Judge, pairs: Sequence[Pair], region: Region, name: str) -> int:
    named = judge.contender.named(judge.probabilities(_pasted(judge, pairs, region)))
    return sum(each == name for each in named)
