"""Whoever moved the time floor ahead, a station follows a right order soon, and whatever was stolen is made good (OTA-1)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import pytest
from tuf.api.metadata import Metadata
from update_plant import Plant, plant

from agent.slots.tuf_client import TufClient
from agent.update.floors import BUILT_AT, MAX_AHEAD_S, effective_now
from cloud.registry.rotation import rotate_roles
from contract.errors import TransientError
from contract.ids import bundle_target

YEAR_9999 = 253_370_764_800.0


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Plant]:
    with plant(tmp_path) as made:
        yield made


def test_one_server_in_other_hands_moves_the_time_floor_two_days_and_a_right_order_is_followed(here: Plant) -> None:
    here.deploy("1", 1)
    second = here.release("2", 2)
    path = here.registry.tuf_folder / "metadata" / "timestamp.json"
    stolen = Metadata.from_bytes(path.read_bytes())
    stolen.signed.expires = datetime(9999, 12, 31, tzinfo=timezone.utc)
    stolen.signatures.clear()
    stolen.sign(here.keys.signer("timestamp"))
    path.write_bytes(stolen.to_bytes())
    here.send(here.order(second, now=YEAR_9999, lifetime_s=3600.0))
    here.settle(here.loop())
    assert here.floors().read().time == here.clock.now() + MAX_AHEAD_S
    third = here.release("3", 3)
    here.send(here.order(third))
    assert here.settle(here.loop()).bundle == third.digest


def test_a_time_floor_in_the_year_9999_falls_when_the_root_revokes_the_timestamps_key(here: Plant) -> None:
    first = here.deploy("1", 1)
    floors = here.floors()
    floors.write(msgspec.structs.replace(floors.read(), time=YEAR_9999))
    client = TufClient(here.http, here.server.url, here.home / "tuf", here.root, floors=floors)

    def look_up() -> None:
        now = effective_now(floors.read(), here.clock.now())
        assert client.look_up_targets([bundle_target(first.digest)], now)[0]

    with pytest.raises(TransientError, match="expired"):
        look_up()
    rotate_roles(here.registry, here.keys, {"timestamp": None}, here.clock.now())
    with pytest.raises(TransientError, match="expired"):
        look_up()  # by the old floor still; but the new root has been seen
    assert floors.read().time == BUILT_AT
    look_up()
