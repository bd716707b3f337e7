"""How often people who labelled the same image agree: the raw share, and Cohen's kappa.

Kappa takes off what two people would agree on by chance, each naming labels as often as they do: 1 is full agreement, 0 that of
chance. Source: Cohen 1960, "A coefficient of agreement for nominal scales"; of several pairs the mean, weighted by images (Light
1971).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from cloud.review.agreement import ActKind, LabelAct, standing_acts


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two people on the images that both labelled. `kappa` is None where all the labels are one."""

    first: str
    second: str
    images: int
    agreed: int
    raw: float
    kappa: float | None


@dataclass(frozen=True, slots=True)
class LabellerAgreement:
    """One person against all others: `labelled` images, and of those `images` that another person labelled too, how many `agreed`.

    `raw` is None without any; `kappa`, too, where all the labels are one.
    """

    labeller: str
    labelled: int
    images: int
    agreed: int
    raw: float | None
    kappa: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Everybody. `images`: those that two people labelled."""

    images: int
    agreed: int
    raw: float | None
    kappa: float | None
    labellers: tuple[LabellerAgreement, ...]
    pairs: tuple[PairAgreement, ...]


def agreement(acts: Mapping[str, Sequence[LabelAct]]) -> Agreement:
    """Return how often people agree, from the acts about each image.

    Of an image the first two people count, each with their first label: a third is asked only where two disagreed, and what one
    says after seeing that is no second opinion.
    """
    labelled: Counter[str] = Counter()
    pairs: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for each in acts.values():
        first = _first_labels(each)
        labelled.update(first.keys())
        two = sorted(list(first)[:2])
        if len(two) == 2:
            pairs[two[0], two[1]].append((first[two[0]], first[two[1]]))
    told = tuple(_pair(*names, answers) for names, answers in sorted(pairs.items()))
    images, agreed = sum(p.images for p in told), sum(p.agreed for p in told)
    weighed = [(p.kappa, p.images) for p in told if p.kappa is not None]
    weight = sum(count for _, count in weighed)
    return Agreement(
        images=images,
        agreed=agreed,
        raw=agreed / images if images else None,
        kappa=sum(kappa * count for kappa, count in weighed) / weight if weight else None,
        labellers=tuple(_labeller(name, labelled[name], pairs) for name in sorted(labelled)),
        pairs=told,
    )


def cohen_kappa(answers: Sequence[tuple[str, str]]) -> float | None:
    """Return Cohen's kappa of paired labels; None without any, or where all of them are one label."""
    if not answers:
        return None
    count = len(answers)
    mine, theirs = Counter(a for a, _ in answers), Counter(b for _, b in answers)
    chance = sum(mine[label] * theirs[label] for label in mine) / count**2
    if chance >= 1.0:
        return None
    return (sum(a == b for a, b in answers) / count - chance) / (1.0 - chance)


def _first_labels(acts: Iterable[LabelAct]) -> dict[str, str]:
    """Return each person's first label, in the order in which they came; one taken back was a slip of the hand."""
    first: dict[str, str] = {}
    for act in standing_acts(acts):
        if act.kind is ActKind.LABEL:
            first.setdefault(act.labeller, act.label)
    return first


def _pair(first: str, second: str, answers: Sequence[tuple[str, str]]) -> PairAgreement:
    agreed = sum(a == b for a, b in answers)
    return PairAgreement(first, second, len(answers), agreed, agreed / len(answers), cohen_kappa(answers))


def _labeller(
    name: str, labelled: int, pairs: Mapping[tuple[str, str], Sequence[tuple[str, str]]]
) -> LabellerAgreement:
    mine = [answers for (first, _), answers in pairs.items() if first == name]
    turned = [[(b, a) for a, b in answers] for (_, second), answers in pairs.items() if second == name]
    answers = list(chain.from_iterable([*mine, *turned]))
    agreed = sum(a == b for a, b in answers)
    raw = agreed / len(answers) if answers else None
    return LabellerAgreement(name, labelled, len(answers), agreed, raw, cohen_kappa(answers))
