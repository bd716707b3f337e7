"""A retrain whose release waits for signatures is rolled out when they are published, and disturbs nothing before."""

from __future__ import annotations

from tests.cloud.test_retrain_trigger import Plant
from tests.fakes.cloud_tables import Tables


def test_a_retrain_whose_release_waits_for_signatures_is_rolled_out_once_it_is_listed(tables: Tables) -> None:
    plant = Plant(tables)
    try:
        listed = plant.releases.releases
        plant.releases.releases = listed.copy()
        train = plant._train

        def stage(*lesson) -> bool:
            done = train(*lesson)
            staged.append(plant.releases.releases.pop())
            return done

        staged: list = []
        plant.trigger._carry_out = stage
        plant.label(8, "scratch")
        for _ in range(3):
            (retrain,) = plant.tick()
        assert retrain.version == "v1.r1" and len(staged) == 1 and plant.rollouts == []
        plant.releases.releases += staged
        plant.tick()
        assert plant.rollouts == ["v1.r1"]
    finally:
        plant.close()
