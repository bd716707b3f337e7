"""An order to decide unseen a bundle that runs already (a kit brought it meanwhile): nothing is committed, no floor is raised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from update_plant import PROBATION, Plant, plant

from contract.messages import SHADOWED

UNSEEN = msgspec.structs.replace(PROBATION, shadow_only=True)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Plant]:
    with plant(tmp_path) as made:
        yield made


def test_it_is_put_away_at_once_and_says_why(here: Plant) -> None:
    running = here.deploy("1")
    offered, before = len(here.switch.offered), here.slots().committed()
    here.send(here.order(running, "unseen", probation=UNSEEN))
    loop = here.loop()
    said = here.settle(loop)
    assert (said.update_state, said.outcome, said.bundle, said.deployment) == (
        "IDLE", SHADOWED, running.digest, "unseen",
    )  # fmt: skip
    assert said.reason == "it runs this bundle already: nothing to decide unseen beside it"
    assert (said.shadow_frames, len(here.switch.offered)) == (0, offered)
    assert here.slots().committed() == before, "its commit is the one that it had, under the order that brought it"


def test_the_real_order_commits_it_afterwards(here: Plant) -> None:
    running = here.deploy("1")
    here.send(here.order(running, "unseen", probation=UNSEEN))
    here.settle(here.loop())
    envelope = here.send(here.order(running, "earnest"))
    said = here.settle(here.loop())
    assert (said.update_state, said.outcome, said.deployment) == ("COMMITTED", "", "earnest")
    here.send(envelope)
    loop = here.loop()
    assert here.settle(loop).deployment == "earnest" and loop.refused_orders == 0
