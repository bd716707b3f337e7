"""What an inspector's act comes to: done or refused, and what the model said of a part once they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cloud.api.answer_shown import CloudVerdict, check_may_see_answer, cloud_verdict, labelled_by, overlay_png
from cloud.api.auth import Scope
from cloud.dashboard.review_view import ReviewDesk, Said
from cloud.dashboard.visit import Visit
from cloud.ports.registry import FullPrecision, ImageFiles
from cloud.ports.samples import Sample
from cloud.review.label_choice import LabelChoice
from cloud.store.samples import Samples
from contract.errors import PlumblineError, RefusedError


@dataclass(frozen=True, slots=True)
class ReviewParts:
    """What the page stands on. `desk` makes one for a person; `models` give the cloud's verdict, None without any."""

    desk: Callable[[str], ReviewDesk]
    samples: Samples
    images: ImageFiles
    choice: Callable[[], LabelChoice]
    models: FullPrecision | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said of a part before a person did. `truth`: what the person said."""

    sample: Sample
    cloud: CloudVerdict
    has_map: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What an act of the inspector came to. `ended`: they may no longer; `answer`: to be shown before the next part."""

    ended: bool = False
    said: Said = field(default_factory=lambda: Said(False))
    answer: Answer | None = None
    why_no_answer: str = ""


def carry_out(
    visit: Visit, desk: ReviewDesk, parts: ReviewParts, kind: str, shown: str, label: str, *, answers: bool
) -> Step:
    """Ask who it is, do what they want, and take the next part; in one go, for a person waits for it. To be called in a thread.

    `kind`: "label", "skip", "undo", or "lost" where the browser could not load the pixels. `shown`: the part that the person saw.
    `answers`: the model's answer is wanted after a label, before the next part.
    """
    if not visit.may(Scope.REVIEW):
        desk.leave()
        return Step(ended=True)
    if kind == "undo":
        said = desk.undo()
        if said.done and desk.current is None:
            desk.next()
        return Step(said=said)
    if kind == "lost":
        desk.lose(shown)
        desk.next()
        return Step(said=Said(False, "The pixels of a part could not be shown: it is passed over.", shown))
    said = desk.skip(shown) if kind == "skip" else desk.label(shown, label)
    if not said.done:
        return Step(said=said)
    if answers and kind == "label":
        try:
            return Step(said=said, answer=_answer_to(parts, shown, desk.labeller))
        except (PlumblineError, OSError) as error:
            desk.next()
            return Step(said=said, why_no_answer=str(error))
    desk.next()
    return Step(said=said)


def _answer_to(parts: ReviewParts, sample: str, labeller: str) -> Answer:
    found = own_answer(parts.samples, sample, labeller)
    return Answer(found, cloud_verdict(parts.models, parts.images, found), overlay_png(parts.images, found) is not None)


def own_answer(samples: Samples, sample: str, labeller: str) -> Sample:
    """Return the sample whose answer the page may show this person: they labelled it themselves, and a label stands.

    Raises:
        NotFound, RefusedError: it may not.
    """
    found = check_may_see_answer(samples, sample, labeller)
    if not labelled_by(samples, sample, labeller):
        raise RefusedError("you have not labelled it")
    return found
