"""What the audit page shows, and the walk along the chain that goes on behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cloud.dashboard.parts import ago
from cloud.dashboard.time_words import exact
from cloud.store.audit import AuditLog

PAGE = 50
MOST_EXPORTED = 200_000
_FIRST_WALK_S = 0.5


@dataclass(frozen=True, slots=True)
class Asked:
    """Which entries a page shows: `before` an id, None for the newest."""

    actor: str = ""
    act: str = ""
    text: str = ""
    before: int | None = None


@dataclass(frozen=True, slots=True)
class AuditView:
    """A page of the log, newest first; `older`: the id before which the next page begins, None where there is none."""

    rows: list[dict[str, Any]]
    older: int | None


def audit_view(audit: AuditLog, asked: Asked, now: float) -> AuditView:
    """Return a page of entries."""
    found = audit.entries(
        PAGE + 1, before=asked.before, actor=_plain(asked.actor), act=asked.act, text=_plain(asked.text)
    )[::-1]
    rows = [
        {"id": e.id, "when": ago(now, e.at), "exact": exact(e.at), "who": e.actor, "act": e.act, "detail": e.detail}
        for e in found[:PAGE]
    ]
    return AuditView(rows, found[PAGE - 1].id if len(found) > PAGE else None)


def _plain(text: str) -> str:
    """Return what was typed without control characters: PostgreSQL refuses some."""
    return "".join(letter for letter in text.strip() if letter.isprintable())[:120]


class ChainWatch:
    """Walks the chain in a thread of its own, while somebody asks and not more often than `every_s`.

    A walk reads every entry: where it takes long, the next waits longer, so that looking costs no more than a twentieth of a core.
    """

    def __init__(self, audit: AuditLog, now: Callable[[], float], every_s: float = 60.0) -> None:
        self._audit, self._now, self._every_s = audit, now, every_s
        self._lock, self._walked = threading.Lock(), threading.Event()
        self._due, self._walking = float("-inf"), False
        self._said: tuple[bool, str, float] | None = None

    def say(self) -> tuple[bool | None, str]:
        """Return whether the chain holds, None while that is not known, and it in words; start a walk where one is due.

        The first who asks is kept waiting a moment: most chains are walked by then.
        """
        with self._lock:
            if not self._walking and self._now() >= self._due:
                self._walking = True
                threading.Thread(target=self._walk, name="audit-chain", daemon=True).start()
        self._walked.wait(_FIRST_WALK_S)
        with self._lock:
            if self._said is None:
                return None, "the chain is being checked"
            held, words, at = self._said
        return held, f"{words}; checked {ago(self._now(), at)}"

    def _walk(self) -> None:
        began = self._now()
        try:
            found = self._audit.check()
            said = (found.intact, found.in_words(), began)
        except Exception as error:  # noqa: BLE001 - the thread's outermost guard: shown, and tried again
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            said = (False, f"the chain could not be checked: {reason}", began)
        with self._lock:
            self._said, self._walking = said, False
            self._walked.set()
            self._due = self._now() + max(self._every_s, 20.0 * (self._now() - began))
