"""The order key is replaced; stations follow by what the old key signed, however many rotations they slept through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.registry.keys import Keys, init_keys, load_keys
from cloud.registry.order_keys import rotate_order_key, standing_order_keys
from cloud.registry.orders import CurrentOrderSigner, issue_order
from contract.errors import BadOrder, NotFound
from contract.messages import Order, Probation
from contract.signature import OrderKey, verify_order, verify_order_keys

NOW = 1_795_200_000.0
FACTS: dict[str, Any] = {
    "station": "cam1", "bundle": "ab" * 32, "size_bytes": 5, "deployment": "d", "desired_seq": 1,
    "probation": Probation(10, 0.9), "now": NOW,
}  # fmt: skip


def told(keys: Keys, pinned: list[OrderKey]) -> list[OrderKey]:
    """Return what a station that knows `pinned` knows after it heard what stands."""
    return [OrderKey(*each) for each in verify_order_keys(standing_order_keys(keys), pinned).keys.items()]


def test_a_key_that_was_never_replaced_needs_no_statement(tmp_path: Path) -> None:
    keys = init_keys(tmp_path)
    assert standing_order_keys(keys) == "" and keys.order_keys() == (keys.order_key(),)


def test_a_replaced_key_signs_no_more_and_stations_hear_of_the_new_one(tmp_path: Path) -> None:
    old = init_keys(tmp_path)
    kept = rotate_order_key(old, NOW, revoke=False)
    assert load_keys(tmp_path) == kept or load_keys(tmp_path).order == kept.order
    assert kept.order_key() != old.order_key()
    known = told(kept, [old.order_key()])
    assert set(known) == {old.order_key(), kept.order_key()} == set(kept.order_keys())
    with pytest.raises(BadOrder):
        verify_order(issue_order(kept, **FACTS), [old.order_key()])
    assert verify_order(issue_order(kept, **FACTS), known) and verify_order(issue_order(old, **FACTS), known)

    revoked = rotate_order_key(load_keys(tmp_path), NOW, revoke=True)
    known = told(revoked, known)
    assert known == list(revoked.order_keys()) == [revoked.order_key()]
    for stale in (old, kept):
        with pytest.raises(BadOrder):
            verify_order(issue_order(stale, **FACTS), known)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(revokes=st.lists(st.booleans(), min_size=1, max_size=5), asleep=st.integers(0, 4))
def test_a_station_that_slept_through_any_rotations_follows(
    tmp_path_factory: pytest.TempPathFactory, revokes: list[bool], asleep: int
) -> None:
    folder = tmp_path_factory.mktemp("keys")
    keys, versions = init_keys(folder), []
    pinned = [[keys.order_key()]]
    for revoke in revokes:
        keys = rotate_order_key(load_keys(folder), NOW, revoke=revoke)
        versions.append(verify_order_keys(standing_order_keys(keys), pinned[0]).version)
        pinned.append(list(keys.order_keys()))
    assert versions == list(range(1, len(revokes) + 1)), "monotonic"
    known = told(keys, pinned[min(asleep, len(revokes))])
    assert verify_order(issue_order(load_keys(folder), **FACTS), known)
    stranger = OrderKey("cd" * 32, "ab" * 32)
    with pytest.raises(BadOrder):
        verify_order_keys(standing_order_keys(keys), [stranger])


def test_a_record_whose_key_file_is_gone_names_it(tmp_path: Path) -> None:
    init_keys(tmp_path)
    keys = rotate_order_key(load_keys(tmp_path), NOW, revoke=False)
    (tmp_path / "order-2.pem").unlink()
    with pytest.raises(NotFound, match=f"order key {keys.order_key().keyid[:12]}"):
        load_keys(tmp_path).order_key()


def test_a_running_server_signs_with_the_new_key_at_once(tmp_path: Path) -> None:
    init_keys(tmp_path)
    signer = CurrentOrderSigner(tmp_path)
    order = Order("cam1", "ab" * 32, 5, "d", 1, 0, NOW, NOW + 1, Probation(10, 0.9))
    for _ in range(3):
        keys = load_keys(tmp_path)
        assert verify_order(signer.sign(order), [keys.order_key()]) == order
        assert signer.standing_order_keys() == standing_order_keys(keys)
        rotate_order_key(keys, NOW, revoke=True)
    for file in tmp_path.glob("order*"):
        file.unlink()
    with pytest.raises(NotFound, match="order key"):
        CurrentOrderSigner(tmp_path)
