"""Where a released version stands; everything that affects this machine lives here.

One version at most is CHAMPION. A version that is RETIRED comes back as a CANDIDATE: it must reach everybody anew to be more.
"""

from __future__ import annotations

import re
from enum import Enum

from contract.errors import IllegalTransition, InvalidConfig

CHAMPION_ALIAS = "champion"
CANDIDATE_ALIAS = "candidate"
RESERVED_ALIASES = (CHAMPION_ALIAS, CANDIDATE_ALIAS)

_ALIAS = re.compile(r"[a-z][a-z0-9-]{0,39}")


class VersionStage(str, Enum):
    """STAGED: waits for signatures. CANDIDATE: released, and never reached everybody. CHAMPION: what a rollout brought everybody
    last. FORMER: was champion. RETIRED: nobody may be ordered to run it. PRUNED: its files are deleted, what is known of it stays.
    """

    STAGED = "STAGED"
    CANDIDATE = "CANDIDATE"
    CHAMPION = "CHAMPION"
    FORMER = "FORMER"
    RETIRED = "RETIRED"
    PRUNED = "PRUNED"


class VersionEvent(str, Enum):
    """What happens to a version."""

    RELEASE = "release"
    ROLLED_OUT = "reached everybody"
    SUCCEEDED = "another is champion"
    RETIRE = "retire"
    UNRETIRE = "unretire"
    PRUNE = "prune"


STAGE_TABLE: dict[VersionStage, dict[VersionEvent, VersionStage]] = {
    VersionStage.STAGED: {VersionEvent.RELEASE: VersionStage.CANDIDATE},
    VersionStage.CANDIDATE: {
        VersionEvent.ROLLED_OUT: VersionStage.CHAMPION,
        VersionEvent.RETIRE: VersionStage.RETIRED,
        VersionEvent.PRUNE: VersionStage.PRUNED,
    },
    VersionStage.CHAMPION: {VersionEvent.SUCCEEDED: VersionStage.FORMER},
    VersionStage.FORMER: {
        VersionEvent.ROLLED_OUT: VersionStage.CHAMPION,
        VersionEvent.RETIRE: VersionStage.RETIRED,
        VersionEvent.PRUNE: VersionStage.PRUNED,
    },
    VersionStage.RETIRED: {
        VersionEvent.UNRETIRE: VersionStage.CANDIDATE,
        VersionEvent.PRUNE: VersionStage.PRUNED,
    },
    # The same bytes, released again from their run.
    VersionStage.PRUNED: {VersionEvent.RELEASE: VersionStage.CANDIDATE},
}


def step_stage(stage: VersionStage, event: VersionEvent) -> VersionStage:
    """Return the next stage.

    Raises:
        IllegalTransition: the table has no row for it.
    """
    try:
        return STAGE_TABLE[stage][event]
    except KeyError:
        raise IllegalTransition(f"a version that is {stage.value} cannot '{event.value}'") from None


def check_alias(text: str) -> str:
    """Return `text` when it can be a name for a version: small letters, digits and '-', at most 40, a letter first.

    Raises:
        InvalidConfig: it cannot.
    """
    if _ALIAS.fullmatch(text) is None:
        raise InvalidConfig(
            f"'{text[:80]}' is no alias", hint="use up to 40 small letters, digits and '-', e.g. 'line-3'"
        )
    return text
