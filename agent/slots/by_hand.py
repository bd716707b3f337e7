"""A step back that was asked for by hand, and the answer to it, in files below HOME/by_hand/."""

from __future__ import annotations

from pathlib import Path

import msgspec

from agent.slots.disk import Disk
from agent.update.sealed import seal, unseal


class StepBackAsked(msgspec.Struct, frozen=True):
    """Somebody wants the bundle before `bundle`, the one that was committed then, back; `id` ties the answer to it."""

    id: str
    reason: str
    bundle: str = ""


class StepBackAnswer(msgspec.Struct, frozen=True):
    """Which bundle runs now; or, with "" for it, why nothing changed."""

    id: str
    bundle: str
    refused: str = ""


class ByHand:
    """The question and the answer. Either side deletes what it has read."""

    def __init__(self, home: Path, *, disk: Disk | None = None) -> None:
        self._folder, self._disk = home / "by_hand", disk or Disk()
        self._asked, self._answer = self._folder / "step_back", self._folder / "answer"

    def ask(self, question: StepBackAsked) -> None:
        """Leave a question for the running station."""
        self._disk.make_folder(self._folder)
        self._disk.remove(self._answer)
        self._disk.replace(self._asked, seal(question))

    def asked(self) -> StepBackAsked | None:
        """Return the question that waits; None when none does. Cheap."""
        try:
            return unseal(self._asked.read_bytes(), StepBackAsked)
        except OSError:
            return None

    def withdraw(self) -> None:
        """Take the question back, or strike it out once it is answered."""
        self._disk.remove(self._asked)

    def answer(self, answer: StepBackAnswer) -> None:
        """Answer the question that waits."""
        self._disk.replace(self._answer, seal(answer))
        self.withdraw()

    def answered(self, question: StepBackAsked) -> StepBackAnswer | None:
        """Return the answer to `question`; None while there is none."""
        try:
            found = unseal(self._answer.read_bytes(), StepBackAnswer)
        except OSError:
            return None
        return found if found is not None and found.id == question.id else None
