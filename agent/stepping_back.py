"""A step back by hand on a running station: the slots first, then the model in charge, then the report."""

from __future__ import annotations

import logging

from agent.ports.clock import Clock
from agent.ports.orders import Report
from agent.ports.slots import BundleSwitch
from agent.ports.update import SlotStore
from agent.slots.by_hand import ByHand, StepBackAnswer
from agent.update.reported import at_rest
from contract.errors import NotFound

_log = logging.getLogger(__name__)


class SteppingBack:
    """Does what `by_hand` asks. Called in the update thread, with whether an update is under way."""

    def __init__(
        self,
        station: str,
        boot: str,
        by_hand: ByHand,
        *,
        slots: SlotStore,
        switch: BundleSwitch,
        report: Report,
        clock: Clock,
    ) -> None:
        self._station, self._boot, self._by_hand = station, boot, by_hand
        self._slots, self._switch, self._report, self._clock = slots, switch, report, clock

    def __call__(self, busy: bool) -> None:
        """Answer the question that waits, if one does."""
        question = self._by_hand.asked()
        if question is None:
            return
        mark = self._slots.committed()
        if mark is not None and question.bundle and mark.digest != question.bundle:
            # Done already by a process that did not live to answer, or overtaken by an update: never a second step back.
            done = any(bundle == question.bundle for bundle, _ in self._slots.banned())
            refused = "" if done else "another bundle was committed meanwhile"
            self._by_hand.answer(StepBackAnswer(question.id, mark.digest if done else "", refused))
            return
        if busy or self._slots.trial() is not None:
            self._by_hand.answer(StepBackAnswer(question.id, "", "an update is under way; wait for its end"))
            return
        try:
            bundle = self._slots.step_back(question.reason)
        except NotFound as error:
            self._by_hand.answer(StepBackAnswer(question.id, "", error.one_line()))
            return
        _log.warning("back to bundle %s by hand: %s", bundle.digest[:12], question.reason)
        self._switch.recall(bundle)
        mark, last = self._slots.committed(), self._slots.last()
        self._report.publish(at_rest(self._station, self._boot, self._clock.now(), mark, last))
        self._by_hand.answer(StepBackAnswer(question.id, bundle.digest))
