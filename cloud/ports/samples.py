"""Frames that stations kept, as the loops see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Sample:
    """A kept frame. `truth` is the label that stands of those people gave (`cloud.review.agreement`), `labeller` and `labelled_at`
    whose made it stand, and when; `inclusion` the probability with which an audit sample was drawn; `novelty` how unlike what its
    camera enrolled it looks, 0 where the station did not say. `again`: why it is in the queue again, "" for the first time or where
    neither the queue, nor an alarm's, nor what is unsettled was asked for.
    """

    sample: str
    station: str
    captured_at: float
    part: str
    label: str
    confidence: float
    verdict: str
    reason: str
    inclusion: float
    bundle: str
    requested_at: float | None
    image_sha256: str | None
    received_at: float | None
    alarm: int | None
    truth: str | None
    labeller: str | None
    labelled_at: float | None
    camera: str = ""
    novelty: float = 0.0
    again: str = ""


class SampleBook(Protocol):
    """Every kept frame that a summary told of."""

    def of_alarm(self, alarm: int) -> list[Sample]:
        """Return the samples asked for because of an alarm."""

    def audited(self, station: str, camera: str, bundle: str, since: float, limit: int) -> list[Sample]:
        """Return the labelled audit samples of `camera` of `station` answered by `bundle` and captured at or after `since`:
        the newest `limit`, in order of capture."""

    def labelled_since(self, mark: int) -> dict[tuple[str, str], tuple[int, int]]:
        """Return how many labels came after the one numbered `mark` and the newest's number, by (station, camera); one that took
        a truth away counts, too."""

    def unsettled(self, station: str, camera: str) -> list[Sample]:
        """Return the samples of `camera` of `station` that people labelled and that have no truth: they disagree."""

    def unasked(self, station: str, camera: str, since: float) -> list[Sample]:
        """Return samples of `camera` of `station` captured at or after `since` whose pixels nobody asked for yet."""

    def routinely_asked(self, station: str, camera: str, since: float) -> list[Sample]:
        """Return samples of `camera` of `station` asked for without an alarm, at or after `since`."""

    def labelled(self, station: str, camera: str) -> list[Sample]:
        """Return every labelled sample of `camera` of `station`, oldest first."""

    def labelled_series(self) -> list[str]:
        """Return the series that any sample is labelled of."""

    def mark_requested(self, names: Sequence[str], alarm: int | None, now: float) -> None:
        """Record that the pixels of these samples were asked for."""
