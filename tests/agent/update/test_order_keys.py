"""Order keys are replaced by keys that count so far, and by nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from agent.slots.order_keys_file import OrderKeysFile
from agent.update.order_keys import MAX_KEYS, MAX_VERSION_STEP, OrderKeyRing, accept, pinned_ring
from contract.errors import BadOrder
from contract.messages import Order, OrderKeys, Probation
from contract.signature import OrderKey, sign_order, sign_order_keys, verify_order

OLD, NEW, NEXT, IMAGE = (CryptoSigner.generate_ed25519() for _ in range(4))
ORDER = Order("s1", "a" * 64, 9, "d1", 1, 0, 1.0, 2.0, Probation(1, 0.5))


def public(signer: CryptoSigner) -> OrderKey:
    return OrderKey(signer.public_key.keyid, signer.public_key.keyval["public"])


def keys_of(version: int, *signers: CryptoSigner) -> OrderKeys:
    return OrderKeys(version, {public(each).keyid: public(each).public for each in signers}, 1.0)


def replaced(version: int, by: CryptoSigner, *signers: CryptoSigner) -> str:
    return sign_order_keys(keys_of(version, *signers), by)


START = pinned_ring([public(OLD)])


def test_a_key_that_counts_hands_over_to_another_and_then_counts_no_more() -> None:
    ring = accept(START, replaced(1, OLD, NEW))
    assert ring.keys == (public(NEW),) and ring.version == 1
    assert verify_order(sign_order(ORDER, NEW), ring.keys) == ORDER
    with pytest.raises(BadOrder):
        verify_order(sign_order(ORDER, OLD), ring.keys)
    with pytest.raises(BadOrder, match="no valid signature"):
        accept(ring, replaced(2, OLD, OLD))  # it cannot bring itself back
    assert accept(ring, replaced(2, NEW, NEXT)).keys == (public(NEXT),)


def test_the_same_envelope_delivered_again_is_no_fault_though_its_signer_is_gone() -> None:
    envelope = replaced(1, OLD, NEW)
    ring = accept(START, envelope)
    assert accept(ring, envelope) is ring


@pytest.mark.parametrize("version", [0, 1, 2])
def test_versions_that_are_not_newer_are_refused(version: int) -> None:
    ring = accept(START, replaced(2, OLD, OLD, NEW))
    with pytest.raises(BadOrder, match="not newer"):
        accept(ring, replaced(version, NEW, NEW))


def test_no_version_is_used_up_by_a_great_leap() -> None:
    with pytest.raises(BadOrder, match="ahead"):
        accept(START, replaced(MAX_VERSION_STEP + 1, OLD, NEW))
    assert accept(START, replaced(MAX_VERSION_STEP, OLD, NEW)).keys == (public(NEW),)


def test_image_keys_alone_change_no_order_key() -> None:
    for envelope in (replaced(1, IMAGE, IMAGE), replaced(9, IMAGE, OLD, IMAGE)):
        with pytest.raises(BadOrder, match="no valid signature"):
            accept(START, envelope)


def test_an_order_is_no_key_replacement_and_the_other_way_round() -> None:
    with pytest.raises(BadOrder, match="payload type"):
        accept(START, sign_order(ORDER, OLD))
    with pytest.raises(BadOrder, match="payload type"):
        verify_order(replaced(1, OLD, NEW), START.keys)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"a": ""},
        {"a": "xyz"},
        {"a": "A" * 64},
        {"": "a" * 64},
        {"a": "a" * 64 + "\n"},
        {f"k{n}": "a" * 64 for n in range(MAX_KEYS + 1)},
    ],
)
def test_keys_that_would_lock_the_station_up_are_refused(keys: dict[str, str]) -> None:
    with pytest.raises(BadOrder):
        accept(START, sign_order_keys(OrderKeys(1, keys, 1.0), OLD))


@given(st.text(max_size=300))
def test_anything_else_is_a_bad_order_and_nothing_else(envelope: str) -> None:
    with pytest.raises(BadOrder):
        accept(START, envelope)


def test_replaced_keys_are_there_after_a_restart(tmp_path: Path) -> None:
    ring = accept(START, replaced(1, OLD, NEW))
    OrderKeysFile(tmp_path, START.keys).write(ring)
    assert OrderKeysFile(tmp_path, START.keys).read() == ring


@pytest.mark.parametrize("damage", [b"", b"0", None])
@pytest.mark.parametrize("copy", ["a", "b"])
def test_one_copy_is_enough(tmp_path: Path, copy: str, damage: bytes | None) -> None:
    ring = accept(START, replaced(1, OLD, NEW))
    file = OrderKeysFile(tmp_path, START.keys)
    file.write(ring)
    path = tmp_path / f"order_keys.{copy}"
    path.unlink() if damage is None else path.write_bytes(damage)
    assert file.read() == ring


@pytest.mark.parametrize("lost", ["", "a", "b"])
def test_damaged_copies_trust_nobody_for_the_pinned_key_may_be_revoked(tmp_path: Path, lost: str) -> None:
    file = OrderKeysFile(tmp_path, START.keys)
    file.write(accept(START, replaced(1, OLD, NEW)))
    for copy in "ab":
        path = tmp_path / f"order_keys.{copy}"
        path.unlink() if copy == lost else path.write_bytes(b"torn")
    assert file.read() == OrderKeyRing(())
    with pytest.raises(BadOrder):
        verify_order(sign_order(ORDER, OLD), file.read().keys)


def test_a_station_that_was_never_told_otherwise_or_is_pinned_anew_trusts_what_is_pinned(tmp_path: Path) -> None:
    file = OrderKeysFile(tmp_path, START.keys)
    assert file.read() == START
    file.write(accept(START, replaced(1, OLD, NEW)))
    assert OrderKeysFile(tmp_path, [public(NEXT)]).read().keys == (public(NEXT),)
