"""New order keys count where an order key signed them and the release keys vouch for them, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from update_plant import STATION, Plant, plant

from agent.hand_over import HandOver
from agent.key_renewal import KeyRenewal
from agent.slots.kit_inbox import KitInbox
from agent.slots.order_keys_file import OrderKeysFile
from agent.slots.reported_file import ReportedFile
from agent.slots.tuf_client import TufClient
from cloud.registry.keys import Keys, load_keys
from cloud.registry.order_keys import NEXT_FILE, rotate_order_key, rotate_vouched, standing_order_keys
from cloud.registry.release import publish_pending
from contract.errors import LinkDown
from contract.messages import DesiredState, OrderKeys
from contract.signature import sign_order_keys, verify_order


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Plant]:
    with plant(tmp_path) as made:
        yield made


def keys_file(here: Plant) -> OrderKeysFile:
    return OrderKeysFile(here.home / "floors", [load_keys(here.folder / "keys").order_key()])


def client(here: Plant) -> TufClient:
    return TufClient(here.http, here.server.url, here.home / "tuf", here.root, floors=here.floors())


def renewal(here: Plant, keys: OrderKeysFile) -> KeyRenewal:
    repository = client(here)
    return KeyRenewal(keys, lambda: [repository], floors=here.floors(), clock=here.clock)


def rotated(here: Plant, revoke: bool = True) -> Keys | None:
    keys = load_keys(here.folder / "keys")
    return rotate_vouched(here.registry.tuf(keys), keys, here.clock.now(), revoke=revoke)


def test_a_replacement_that_the_order_key_alone_signed_is_refused_and_the_owners_is_followed(here: Plant) -> None:
    keys = keys_file(here)
    taker, thief = renewal(here, keys), CryptoSigner.generate_ed25519()
    own = {thief.public_key.keyid: thief.public_key.keyval["public"]}
    old = here.keys.order_key()
    taker.renew(sign_order_keys(OrderKeys(1, own, here.clock.now()), here.keys.signer("order")))
    assert keys.read().keys == (old,)
    after = rotated(here)
    assert after is not None
    taker.renew(standing_order_keys(after))
    assert keys.read().keys == (after.order_key(),) != (old,)
    # The same version, vouched for, with other content.
    taker.renew(sign_order_keys(OrderKeys(1, own, here.clock.now()), here.keys.signer("order")))
    assert keys.read().keys == (after.order_key(),)


def test_a_statement_that_nobody_listed_yet_is_taken_once_it_is(here: Plant) -> None:
    keys = keys_file(here)
    taker, after = renewal(here, keys), rotate_order_key(here.keys, here.clock.now(), revoke=True)
    taker.renew(standing_order_keys(after))
    assert keys.read().version == 0
    assert after.order is not None
    assert here.registry.tuf(after).publish_order_keys(1, after.order.envelope.encode(), here.clock.now())
    taker.renew(standing_order_keys(after))
    assert keys.read().version == 1


def test_an_order_of_new_keys_that_nobody_can_confirm_just_now_is_given_again_when_somebody_can(here: Plant) -> None:
    first, keys = here.release("1"), keys_file(here)
    hand = HandOver(
        STATION, keys, kits=KitInbox(here.home), reported=ReportedFile(here.home), inbox=here.inbox, report=here.report,
        slots=here.slots(), floors=here.floors(), clock=here.clock, client=lambda *_: client(here), network=client(here),
    )  # fmt: skip
    after = rotated(here)
    assert after is not None
    hand.put(DesiredState(STATION, here.order(first, keys=after), order_keys=standing_order_keys(after)))
    here.server.statuses["timestamp"] = 500
    taker = renewal(here, keys)
    with pytest.raises(LinkDown):
        taker.renew(standing_order_keys(after))
    assert hand.take(1.0) is not None and keys.read().version == 0
    for _ in range(50):
        assert hand.take(1.0) is None
    here.server.statuses.clear()
    given = [desired for _ in range(50) if (desired := hand.take(1.0)) is not None]
    assert len(given) == 1 and keys.read().version == 1
    assert verify_order(given[0].envelope, keys.read().keys).bundle == first.digest


@pytest.mark.parametrize("revoke", [True, False])
def test_without_the_targets_key_a_rotation_waits_and_the_old_key_signs_until_it_is_published(
    here: Plant, tmp_path: Path, revoke: bool
) -> None:
    folder = here.folder / "keys"
    old = load_keys(folder).order_key()
    (file,) = folder.glob("targets*.pem")
    away = file.rename(tmp_path / "away.pem")
    assert rotated(here, revoke) is None and rotated(here, revoke) is None
    assert load_keys(folder).order_key() == old and standing_order_keys(load_keys(folder)) == ""
    away.rename(file)
    assert len(publish_pending(here.registry, load_keys(folder), (), here.clock.now()).metadata) == 1
    assert load_keys(folder).order_key() == old
    after = rotated(here, revoke)
    assert after is not None and after.order is not None and after.order_key() != old
    assert len(load_keys(folder).order_keys()) == (1 if revoke else 2) and not (folder / NEXT_FILE).exists()
    assert here.registry.tuf(after).digests() == (), "order keys are no bundle"
    keys = keys_file(here)
    pinned = OrderKeysFile(here.home / "other", [old])
    renewal(here, pinned).renew(standing_order_keys(after))
    assert set(pinned.read().keys) == set(after.order_keys()) and keys.read().version == 0
