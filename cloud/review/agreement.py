"""What several people's labels of one image come to: a label that stands, or none while they disagree."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

_HASHED_BYTES, _HASHES = 8, 1 << 64


class ActKind(str, Enum):
    """LABEL: somebody says what an image shows. RESOLVE: somebody who may settles it, whatever others say. RETURN: its labels were
    found to disagree elsewhere, and it is to be looked at again. UNDO: somebody takes a label of their own back."""

    LABEL = "label"
    RESOLVE = "resolve"
    RETURN = "return"
    UNDO = "undo"


class Standing(str, Enum):
    """How an image stands. Only LABELLED has a truth; the others wait for a person."""

    OPEN = "open"
    LABELLED = "labelled"
    DISPUTED = "disputed"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True, order=True)
class LabelAct:
    """One act of one person about one image, at `at` (Unix seconds). `label` is "" of a RETURN, and of an UNDO that of
    the LABEL it takes back."""

    at: float
    labeller: str
    label: str
    kind: ActKind = ActKind.LABEL


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the acts come to. `labeller` and `at`: whose act made `truth` stand, and when; None without a truth.

    `labellers`: who labelled the image; `settled`: whether somebody resolved it.
    """

    standing: Standing
    truth: str | None = None
    labeller: str | None = None
    at: float | None = None
    labellers: frozenset[str] = frozenset()
    settled: bool = False


def outcome(acts: Iterable[LabelAct]) -> Outcome:
    """Return what acts about one image come to, whatever their order; an act that is there twice counts once.

    The rule, as one would tell it to a person:
    1. Your newest label is yours; an older one of your own no longer counts.
    2. A label stands while more than half of those who labelled the image say so. One person alone is enough.
    3. Otherwise nothing stands, and the image goes to a further person.
    4. Who settles it has the last word, until somebody settles it otherwise or it is sent back.
    5. An image that was sent back needs a label given, or a word spoken, after that; then 1 to 4 hold again.
    6. A label that you took back was never given; the one you gave before it is your newest again.
    """
    votes: dict[str, str] = {}
    resolved: str | None = None
    returned = False
    now = Outcome(Standing.OPEN)
    for act in standing_acts(acts):
        if act.kind is ActKind.RETURN:
            returned, resolved = True, None
        else:
            returned = False
            if act.kind is ActKind.RESOLVE:
                resolved = act.label
            else:
                votes[act.labeller] = act.label
        truth = None if returned else resolved if resolved is not None else _majority(votes)
        if truth is None:
            now = Outcome(_without_truth(votes, returned))
        elif truth != now.truth:
            now = Outcome(Standing.LABELLED, truth, act.labeller, act.at)
    return Outcome(now.standing, now.truth, now.labeller, now.at, frozenset(votes), resolved is not None)


def standing_acts(acts: Iterable[LabelAct]) -> list[LabelAct]:
    """Return the acts that count, in the order of their times: without those that are there twice, labels taken back, and what took
    them back.

    An UNDO takes back its person's newest standing LABEL before it that says the same, and nothing where there is none.
    """
    standing: list[LabelAct] = []
    for act in sorted(set(acts)):
        if act.kind is not ActKind.UNDO:
            standing.append(act)
            continue
        taken_back = _newest(standing, act.labeller, act.label)
        if taken_back is not None:
            standing.remove(taken_back)
    return standing


def newest_label(acts: Iterable[LabelAct], labeller: str) -> LabelAct | None:
    """Return a person's newest label that stands, None without one."""
    return _newest(standing_acts(acts), labeller, None)


def wants_second_look(sample: str, found: Outcome, share: float) -> bool:
    """Return whether a second person should label an image that one alone labelled: `share` (0..1) of them, chosen by name."""
    if found.standing is not Standing.LABELLED or len(found.labellers) != 1 or found.settled:
        return False
    digest = hashlib.sha256(f"second look {sample}".encode()).digest()
    return int.from_bytes(digest[:_HASHED_BYTES], "big") < share * _HASHES


def _newest(standing: Sequence[LabelAct], labeller: str, label: str | None) -> LabelAct | None:
    for act in reversed(standing):
        if act.kind is ActKind.LABEL and act.labeller == labeller and label in (None, act.label):
            return act
    return None


def _majority(votes: dict[str, str]) -> str | None:
    label, count = Counter(votes.values()).most_common(1)[0] if votes else ("", 0)
    return label if 2 * count > len(votes) else None


def _without_truth(votes: dict[str, str], returned: bool) -> Standing:
    if returned:
        return Standing.RETURNED
    return Standing.DISPUTED if votes else Standing.OPEN
