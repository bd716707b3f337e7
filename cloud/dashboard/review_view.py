"""One inspector at the review page: which part is before them, what they say of it, and what comes next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from cloud.ports.registry import ImageFiles
from cloud.ports.samples import Sample
from cloud.review.agreement import standing_acts
from cloud.review.label_choice import LabelChoice
from cloud.review.why_asked import why_asked
from cloud.store.review_claims import ReviewClaims
from cloud.store.samples import Samples
from contract.errors import PlumblineError

AHEAD = 6
"""How many images behind the one that is shown a browser loads beforehand."""

_LOOK = 60
_UNDO_WITHIN_S = 86_400.0
_PACE_OVER_S = 600.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A part as the inspector sees it: nothing here tells what the model said of it. `beside`: who has it before them, too."""

    sample: str
    station: str
    camera: str
    part: str
    captured_at: float
    why: str
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the inspector is. `lost`: parts whose pixels are gone; `on_the_way`: asked for and not here yet."""

    done: int
    left: int
    a_minute: float
    lost: int
    on_the_way: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Said:
    """What came of an act: whether it was `done`, and in words what the inspector should know ("" for nothing)."""

    done: bool
    words: str = ""
    sample: str = ""


class ReviewDesk:
    """One open page of one inspector. Thread-safe: a key that comes while another is carried out waits, and finds a new part."""

    def __init__(
        self,
        *,
        labeller: str,
        samples: Samples,
        claims: ReviewClaims,
        images: ImageFiles,
        choice: Callable[[], LabelChoice],
        now: Callable[[], float],
    ) -> None:
        self.labeller = labeller
        self._samples, self._claims, self._images = samples, claims, images
        self._choice, self._now = choice, now
        self._lock = threading.Lock()
        self._ahead: list[Sample] = []
        self._current: Shown | None = None
        self._known_acts: frozenset[str] = frozenset()
        self._skipped: set[str] = set()
        self._lost: set[str] = set()

    @property
    def current(self) -> Shown | None:
        """The part that is before the inspector."""
        return self._current

    @property
    def ahead(self) -> list[str]:
        """The parts that come next as far as one can tell: another inspector may take them first."""
        return [each.sample for each in self._ahead[:AHEAD]]

    def next(self) -> Shown | None:
        """Put the next part before the inspector; None where nothing waits."""
        with self._lock:
            return self._next()

    def label(self, shown: str, label: str) -> Said:
        """Store what the inspector says of the part that they saw, and let it go; a key pressed twice does nothing more."""
        with self._lock:
            current = self._current
            if current is None or current.sample != shown:
                return Said(False)
            try:
                said = self._choice().check(label)
                self._samples.label(shown, said, self.labeller, self._now())
            except PlumblineError as error:
                return Said(False, f"Not stored: {error.one_line()}", shown)
            others = {act.labeller for act in standing_acts(self._samples.labels.of(shown))} - {self.labeller}
            late = sorted(others - self._known_acts)
            self._let_go()
            words = f"{', '.join(late)} labelled this part meanwhile: yours counts as a second look." if late else ""
            return Said(True, words, shown)

    def skip(self, shown: str) -> Said:
        """Leave the part that the inspector saw to others."""
        with self._lock:
            if self._current is None or self._current.sample != shown:
                return Said(False)
            self._skipped.add(shown)
            self._let_go()
            return Said(True, "Skipped: it waits for somebody else.", shown)

    def look_again_at_skipped(self) -> None:
        """Show what was skipped once more."""
        with self._lock:
            self._skipped.clear()
            self._ahead.clear()

    def undo(self) -> Said:
        """Take the inspector's last label of the last day back and put that part before them again."""
        with self._lock:
            sample = self._samples.labels.last_of(self.labeller, self._now() - _UNDO_WITHIN_S)
            if sample is None:
                return Said(False, "There is no label of yours to take back.")
            try:
                label, _ = self._samples.labels.take_back(sample, self.labeller, self._now())
            except PlumblineError as error:
                return Said(False, error.one_line(), sample)
            self._let_go()
            self._skipped.discard(sample)
            waits = self._samples.still_waits(sample, self.labeller)
            if waits is None or not self._there(waits):
                return Said(True, f"Your label of part {sample} is taken back.", sample)
            beside = "" if self._claims.take(sample, self.labeller, self._now()) else "somebody else"
            self._show(waits, beside)
            return Said(True, f"Taken back: you had said {label}.", sample)

    def renew(self) -> str:
        """Keep the part that is shown; return what to say where its claim ran out and somebody else has it now, else ""."""
        with self._lock:
            current = self._current
            if current is None or current.beside or self._claims.take(current.sample, self.labeller, self._now()):
                return ""
            holder = self._claims.holders([current.sample], self._now()).get(current.sample, "somebody else")
            self._current = replace(current, beside=holder)
            return f"{holder} looks at this part, too, by now: yours may be a second label of it."

    def lose(self, shown: str) -> None:
        """Pass over the part that was shown: the browser could not load its pixels."""
        with self._lock:
            if self._current is not None and self._current.sample == shown:
                self._lost.add(shown)
                self._let_go()

    def leave(self) -> None:
        """Give the part back unlabelled."""
        with self._lock:
            self._let_go()

    def progress(self, midnight: float) -> Progress:
        """Return how far the inspector is since `midnight`, when their day began (Unix seconds)."""
        now, given = self._now(), self._samples.labels.given_since
        since = min(max(midnight, now - 2 * 86_400.0), now)
        left, _ = self._samples.counts(self.labeller)
        return Progress(
            done=given(self.labeller, since),
            left=max(left - len(self._lost), 0),
            a_minute=given(self.labeller, now - _PACE_OVER_S) * 60.0 / _PACE_OVER_S,
            lost=len(self._lost),
            on_the_way=self._samples.on_the_way(),
            skipped=len(self._skipped),
        )

    def _next(self) -> Shown | None:
        self._let_go()
        fresh, lost = len(self._ahead) <= AHEAD, -1
        # What was looked up a while ago may be gone by now; and of what is looked up now all pixels may be lost.
        while not fresh or lost < len(self._lost):
            if fresh:
                lost = len(self._lost)
                self._refill()
            fresh = True
            held = self._claims.holders([each.sample for each in self._ahead], self._now())
            while free := next((s for s in self._ahead if held.get(s.sample, self.labeller) == self.labeller), None):
                self._ahead.remove(free)
                waits = self._samples.still_waits(free.sample, self.labeller)
                if waits is None or not self._there(waits):
                    continue
                if self._claims.take(free.sample, self.labeller, self._now()):
                    return self._show(waits, "")
        return self._next_beside()

    def _next_beside(self) -> Shown | None:
        """Show what another person has before them: nothing else is left, and a second label is worth having."""
        held = self._claims.holders([each.sample for each in self._ahead], self._now())
        for each in reversed(self._ahead):
            waits = self._samples.still_waits(each.sample, self.labeller)
            if waits is not None and self._there(waits):
                return self._show(waits, held.get(each.sample, "somebody else"))
        return None

    def _refill(self) -> None:
        passed = self._skipped | self._lost
        found = self._samples.waiting(_LOOK + len(passed), self.labeller)
        self._ahead = [each for each in found if each.sample not in passed]

    def _show(self, found: Sample, beside: str) -> Shown:
        why = why_asked(found.reason, found.novelty, found.again)
        self._known_acts = frozenset(act.labeller for act in self._samples.labels.of(found.sample))
        self._ahead = [each for each in self._ahead if each.sample != found.sample]
        self._current = Shown(found.sample, found.station, found.camera, found.part, found.captured_at, why, beside)
        return self._current

    def _let_go(self) -> None:
        if self._current is not None and not self._current.beside:
            self._claims.release(self._current.sample, self.labeller)
        self._current = None

    def _there(self, found: Sample) -> bool:
        """Return whether the pixels can be shown; a part whose pixels are lost must not stop the queue."""
        try:
            if self._images.path(found.image_sha256 or "").is_file():
                return True
        except PlumblineError as error:
            if error.retry:
                raise
        self._lost.add(found.sample)
        return False
