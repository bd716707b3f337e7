"""What needs a person now: the same words on the overview, in alerts and in runbooks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(str, Enum):
    """How soon: PAGE somebody now, a TICKET for the working day, INFO for who looks anyway."""

    PAGE = "page"
    TICKET = "ticket"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Need:
    """`key` names the same need again ("silent:hall 1"); `kind` groups ("silent station"); `link` is a path of the dashboard;
    `runbook` an anchor of docs/RUNBOOKS.md, "" where what to do is said in `what`. `members` are the stations it is about, where
    one need stands for several: whoever was told of some is told again when others join them.
    """

    key: str
    kind: str
    severity: Severity
    what: str
    link: str
    runbook: str = ""
    members: tuple[str, ...] = ()
