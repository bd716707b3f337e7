"""A POST that is sent twice under one key is done once: who lost the answer asks again and gets it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Header, HTTPException

# As much as fits a UUID or a digest, in what any client can send.
IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=128,
        pattern=r"^[\x21-\x7e]*$",
        description="a word of your own choosing: a repeated request with it gives the first one's answer and does nothing",
    ),
]


@dataclass(slots=True)
class _Kept:
    asked: Hashable
    lock: threading.Lock = field(default_factory=threading.Lock)
    answers: list[dict[str, Any]] = field(default_factory=list)


class FirstAnswers:
    """The latest `most` answers by who asked and their key. In memory: after a restart the state of things says what was done.

    What raised is not kept, so that it may be tried again. Thread-safe: the second of two at once waits for the first.
    """

    def __init__(self, most: int = 1_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    def once(self, person: str, key: str, asked: Hashable, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return act(), or what it gave when `person` asked the same under `key` before; "" is no key.

        Raises:
            HTTPException: 422, the key was used for something else.
        """
        if not key:
            return act()
        with self._lock:
            kept = self._kept.setdefault((person, key), _Kept(asked))
            self._kept.move_to_end((person, key))
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        if kept.asked != asked:
            raise HTTPException(422, "this Idempotency-Key was used for another request; choose a new one")
        with kept.lock:
            if not kept.answers:
                kept.answers.append(act())
            return kept.answers[0]
