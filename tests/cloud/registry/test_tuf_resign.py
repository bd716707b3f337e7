"""How late the repository is, and that a person hears of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.registry.keys import OFFLINE_ROLES, TUF_ROLES
from cloud.registry.resign import ResignJob
from cloud.registry.resign_status import LIFETIMES_DAYS, Lateness, resign_status
from contract.errors import NotFound, PlumblineError
from tests.cloud.registry.tuf_plant import DAY, NOW, TufPlant, tuf_plant

ORDER = list(Lateness)


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[TufPlant]:
    with tuf_plant(tmp_path) as here:
        yield here


@pytest.mark.parametrize(
    ("role", "days_left", "state"),
    [
        ("timestamp", 1.6, Lateness.OK),
        ("timestamp", 1.4, Lateness.DUE),
        ("timestamp", 0.9, Lateness.LATE),
        ("timestamp", 0.0, Lateness.EXPIRED),
        ("snapshot", 7.1, Lateness.OK),
        ("snapshot", 6.9, Lateness.DUE),
        ("snapshot", 4.0, Lateness.LATE),
        ("targets", 61, Lateness.OK),
        ("targets", 59, Lateness.DUE),
        ("targets", 29, Lateness.LATE),
        ("root", 31, Lateness.DUE),
        ("root", 30 - 1e-6, Lateness.LATE),
        ("root", -1, Lateness.EXPIRED),
    ],
)
def test_online_roles_are_late_when_the_server_missed_them_offline_ones_weeks_before(
    role: str, days_left: float, state: Lateness
) -> None:
    status = resign_status({role: NOW + days_left * DAY}, NOW)
    assert status.state is status.roles[0].state is state
    assert status.late == (state in (Lateness.LATE, Lateness.EXPIRED)) == bool(status.in_words())
    if status.late and role in OFFLINE_ROLES:
        assert f"keys renew {role}" in status.in_words()


@given(st.dictionaries(st.sampled_from(TUF_ROLES), st.floats(-1e8, 1e8)), st.floats(0, 1e7))
def test_time_makes_it_later_only_and_the_worst_role_says_how_late_it_is(left: dict[str, float], wait: float) -> None:
    expires = {role: NOW + each for role, each in left.items()}
    now, then = resign_status(expires, NOW), resign_status(expires, NOW + wait)
    assert ORDER.index(then.state) >= ORDER.index(now.state)
    assert now.state in {each.state for each in now.roles} | {Lateness.OK}
    assert all(ORDER.index(each.state) <= ORDER.index(now.state) for each in now.roles)


def test_a_failure_is_late_at_once() -> None:
    status = resign_status({"timestamp": NOW + 2 * DAY}, NOW, "no room left")
    assert status.late and "no room left" in status.in_words()


def test_the_job_signs_at_half_life_and_says_nothing_while_all_is_well(plant: TufPlant) -> None:
    at = [NOW]
    job = ResignJob(lambda: plant.registry.tuf(plant.keys()), lambda: at[0])
    assert {each.role for each in job.status().roles} == set(TUF_ROLES) == set(LIFETIMES_DAYS)
    for hour in range(24 * 5):
        at[0] = NOW + hour * 3600.0
        job.tick()
        assert not job.status().late
    assert plant.registry.tuf(plant.keys()).expires_at()["timestamp"] > at[0] + 1.4 * DAY


def test_a_failed_signing_is_told_until_one_succeeds(plant: TufPlant, caplog: pytest.LogCaptureFixture) -> None:
    at = [NOW + 2 * DAY]
    job = ResignJob(lambda: plant.registry.tuf(plant.keys()), lambda: at[0])
    key = plant.online / "timestamp.pem"
    kept = key.read_bytes()
    key.unlink()
    with pytest.raises(NotFound, match="timestamp key"):
        job.tick()
    assert job.status().late and "timestamp key" in job.status().in_words()
    at[0] += 3600.0
    assert job.status().late, "nothing mended it"
    key.write_bytes(kept)
    job.tick()
    assert not job.status().late and job.status().failure == ""


def test_a_disk_that_takes_no_writes_is_told(plant: TufPlant) -> None:
    job = ResignJob(lambda: plant.registry.tuf(plant.keys()), lambda: NOW + 2 * DAY)
    # A folder in the place of the file that is written first: as good as a full disk, and root cannot override it.
    (plant.registry.tuf_folder / "metadata" / ".timestamp.json.tmp").mkdir()
    with pytest.raises((PlumblineError, OSError)):
        job.tick()
    assert "cannot be written" in job.status().in_words()


def test_a_job_that_is_dead_or_has_no_repository_left_does_not_look_well(plant: TufPlant) -> None:
    at = [NOW]
    job = ResignJob(lambda: plant.registry.tuf(plant.keys()), lambda: at[0])
    assert not job.status().late
    at[0] = NOW + 2.5 * DAY
    assert "should have signed it long ago" in job.status().in_words()
    shutil.rmtree(plant.registry.tuf_folder / "metadata")
    at[0] += 60.0
    assert "no TUF repository" in job.status().in_words()


def test_offline_roles_that_near_their_end_are_logged_every_hour(
    plant: TufPlant, caplog: pytest.LogCaptureFixture
) -> None:
    at = [NOW + 340 * DAY]
    job = ResignJob(lambda: plant.registry.tuf(plant.keys()), lambda: at[0])
    job.tick()
    assert "keys renew targets" in caplog.text
    assert plant.registry.tuf(plant.keys()).renew_targets(at[0])
    at[0] += 3600.0
    job.tick()
    assert not job.status().late
