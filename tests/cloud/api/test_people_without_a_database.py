"""Who scrapes /metrics is known without the database for as long as somebody needs to be told that it is away."""

from __future__ import annotations

from typing import Any

import pytest

from cloud.api.auth import Person, Role
from cloud.api.people import LATELY_S, People
from cloud.store.access import Access
from contract.errors import TransientError
from tests.fakes.cloud_tables import T0, Tables


class Away:
    """A table of tokens that is there until `gone`; it counts how often it was asked since."""

    def __init__(self, access: Access) -> None:
        self._access, self.gone, self.asked = access, False, 0

    def token(self, token: str, now: float) -> Any:
        if self.gone:
            self.asked += 1
            raise TransientError("the database did not take it")
        return self._access.token(token, now)

    def note_used(self, number: int, now: float) -> None:
        pass


def test_a_scraper_is_let_in_for_a_whole_night_and_nobody_else(tables: Tables) -> None:
    at, why = [1000.0], [""]
    away = Away(Access(tables.database))
    people = People(
        away,  # type: ignore[arg-type]
        (), new_secret=lambda: "s" * 40, session_s=1.0, now=lambda: T0, monotonic=lambda: at[0],
        why_lost=lambda: why[0],
    )  # fmt: skip
    Access(tables.database).add_token("its token", "prometheus", "viewer", "eva", T0, None)
    prometheus = Person("prometheus", Role.VIEWER)
    assert people.by_token_lately("its token") == prometheus and people.by_token_lately("another") is None
    away.gone = True
    at[0] += 14 * 3600.0
    assert people.by_token_lately("its token") == prometheus
    with pytest.raises(TransientError):
        people.by_token_lately("another")
    with pytest.raises(TransientError):
        people.by_token("its token")  # whatever else it is good for waits
    before, why[0] = away.asked, "the database has not answered for 30 s"
    assert people.by_token_lately("its token") == prometheus
    assert away.asked == before, "one that does not answer is not waited for"
    at[0] += LATELY_S
    with pytest.raises(TransientError):
        people.by_token_lately("its token")
