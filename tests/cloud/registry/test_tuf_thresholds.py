"""Root and targets that need several signatures, made on different machines; python-tuf's client judges every result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Key, Metadata, Root

from cloud.registry.catalog import ReleaseState
from cloud.registry.keys import init_keys, load_keys
from cloud.registry.release import publish_pending
from cloud.registry.remembered_root import check_remembered, remember_root
from cloud.registry.signing_request import (
    check_request,
    decode_request,
    encode_request,
    is_complete,
    merge_signatures,
    needs,
    sign_request,
)
from cloud.registry.signing_words import describe
from contract.errors import BadBundle, InvalidConfig, NotFound, PlumblineError, RefusedError
from tests.cloud.registry.tuf_plant import DAY, NOW, TufPlant, tuf_plant


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[TufPlant]:
    """Root 2 of 3 and targets 2 of 3, one of each on three sticks."""
    with tuf_plant(tmp_path, root=(3, 2), targets=(3, 2), sticks=3) as here:
        yield here


def test_two_of_three_sign_on_machines_of_their_own_and_only_then_the_release_is_listed(plant: TufPlant) -> None:
    server, client = plant.keys(), plant.client(plant.registry.tuf(plant.keys()).root())
    staged = plant.release("v1", server)
    assert staged.state is ReleaseState.STAGED
    assert plant.registry.catalog.all() == [] and not client.sees(staged.digest)

    (request,) = plant.registry.tuf(server).pending()
    first = plant.sign_elsewhere(request, plant.sticks[0])
    with pytest.raises(RefusedError) as caught:
        publish_pending(plant.registry, server, [first], NOW)
    assert "1 of 2 signatures" in caught.value.message and "targets-3" in caught.value.message
    assert "keys sign" in caught.value.hint and "keys publish" in caught.value.hint
    assert not client.sees(staged.digest)

    # The first one's signature was kept; the second signs the copy that never saw it.
    second = plant.sign_elsewhere(request, plant.sticks[2])
    done = publish_pending(plant.registry, server, [second], NOW)
    assert [each.version for each in done.releases] == ["v1"]
    assert plant.registry.catalog.get("v1").state is ReleaseState.RELEASED
    assert client.sees(staged.digest)
    assert plant.registry.tuf(server).pending() == [] and plant.registry.pending.releases() == []
    assert publish_pending(plant.registry, server, [first, second], NOW).metadata == (), "repeating it is harmless"


def test_enough_keys_here_release_at_once(plant: TufPlant) -> None:
    released = plant.release("v1", plant.keys(*plant.sticks[:2]))
    assert released.state is ReleaseState.RELEASED
    assert plant.client(plant.registry.tuf(plant.keys()).root()).sees(released.digest)
    assert plant.registry.tuf(plant.keys()).pending() == []


def test_one_key_signs_once_however_often_it_signs(plant: TufPlant) -> None:
    plant.release("v1", plant.keys())
    (request,) = plant.registry.tuf(plant.keys()).pending()
    once = plant.sign_elsewhere(request, plant.sticks[0])
    twice = merge_signatures(plant.sign_elsewhere(once, plant.sticks[0]), once)
    assert [need.signed for need in needs(twice)] == [need.signed for need in needs(once)]
    assert not is_complete(twice)
    with pytest.raises(RefusedError):
        publish_pending(plant.registry, plant.keys(), [twice, once, twice], NOW)


def test_a_file_that_names_a_key_twice_is_none(plant: TufPlant) -> None:
    plant.release("v1", plant.keys())
    (request,) = plant.registry.tuf(plant.keys()).pending()
    text = encode_request(plant.sign_elsewhere(request, plant.sticks[0])).decode()
    start = text.index('"signatures": [') + len('"signatures": [')
    one = text[start : text.index("]", start)]
    with pytest.raises(BadBundle, match="no signing request"):
        decode_request(text.replace(one, f"{one},{one}", 1).encode())


def test_a_root_that_lists_one_key_under_two_ids_is_refused_before_it_is_signed(plant: TufPlant) -> None:
    repository = plant.registry.tuf(plant.keys())
    repository.change_root({}, NOW)
    (request,) = repository.pending()
    root: Root = request.metadata.signed
    real = root.keys[root.roles["targets"].keyids[0]]
    double = Key.from_dict("ab" * 32, real.to_dict())
    root.add_key(double, "targets")
    with pytest.raises(BadBundle, match="two ids"):
        check_request(request)


def test_signatures_over_something_else_or_by_a_stranger_are_not_taken(plant: TufPlant, tmp_path: Path) -> None:
    server = plant.keys()
    plant.release("v1", server)
    (request,) = plant.registry.tuf(server).pending()
    old = plant.sign_elsewhere(request, plant.sticks[0])
    publish_pending_refused = pytest.raises(RefusedError)
    with publish_pending_refused:
        publish_pending(plant.registry, server, [old], NOW)
    plant.release("v2", server)
    (request,) = plant.registry.tuf(server).pending()
    assert request.version == old.version + 1, "two things are never signed under one number"
    with pytest.raises(BadBundle, match="not what waits"):
        publish_pending(plant.registry, server, [old], NOW)
    stranger = init_keys(tmp_path / "stranger")
    assert sign_request(request, stranger)[1] == ()
    forged = replace(request, metadata=Metadata(request.metadata.signed, {}))
    forged.metadata.sign(stranger.signer("targets"))
    for need in needs(merge_signatures(request, forged)):
        assert need.signed == ()


def test_two_releases_wait_together_and_are_listed_together(plant: TufPlant) -> None:
    server = plant.keys()
    staged = [plant.release(name, server) for name in ("v1", "v2")]
    again = plant.release("v2", server)
    assert again.digest == staged[1].digest
    publish_pending(plant.registry, plant.keys(*plant.sticks[1:]), [], NOW)
    client = plant.client(plant.registry.tuf(server).root())
    assert all(client.sees(each.digest) for each in staged)
    assert {each.version for each in plant.registry.catalog.all()} == {"v1", "v2"}


def test_a_staged_version_name_is_taken(plant: TufPlant) -> None:
    plant.release("v1", plant.keys())
    plant.now += 5
    kept = plant.registry.pending.find_release("v1")
    plant.release("v1", plant.keys())
    assert plant.registry.pending.find_release("v1") == kept, "repeated, it is the same release"
    from cloud.registry.release import release
    from tests.cloud.registry.tuf_plant import content

    other = content(plant.folder / "content", "v1")
    (plant.folder / "content" / "m.onnx").write_bytes(b"another model")
    with pytest.raises(InvalidConfig, match="waits for signatures as another bundle"):
        release(other, plant.registry, plant.keys(), NOW)


def test_the_first_root_may_wait_for_its_signatures_too(tmp_path: Path) -> None:
    with tuf_plant(tmp_path, root=(3, 2), targets=(2, 2), sticks=3, create=False) as here:
        repository = here.registry.tuf(here.keys())
        with pytest.raises(RefusedError, match="root 1 has 0 of 2"):
            repository.create(NOW)
        with pytest.raises(NotFound):
            repository.root()
        before = [each.version for each in repository.pending()]
        with pytest.raises(RefusedError):
            repository.create(NOW)
        assert [each.version for each in repository.pending()] == before == [1, 1]
        for stick in here.sticks[:2]:
            copies = [here.sign_elsewhere(each, stick) for each in repository.pending()]
            try:
                publish_pending(here.registry, here.keys(), copies, NOW)
            except RefusedError:
                assert stick == here.sticks[0]
        assert here.client(repository.root()).root() == 1
        assert repository.create(NOW) == repository.root()


def test_an_online_key_that_is_gone_is_named_and_nothing_changes(plant: TufPlant) -> None:
    before = {path: path.read_bytes() for path in (plant.registry.tuf_folder / "metadata").iterdir()}
    (plant.online / "timestamp.pem").unlink()
    with pytest.raises(NotFound, match="timestamp key timestamp ") as caught:
        plant.release("v1", plant.everyone())
    assert str(plant.online) in caught.value.message and "timestamp --lost" in caught.value.hint
    assert before == {path: path.read_bytes() for path in (plant.registry.tuf_folder / "metadata").iterdir()}
    assert plant.registry.catalog.all() == [] and plant.registry.pending.releases() == []


def test_what_a_holder_is_shown_says_what_is_new(plant: TufPlant) -> None:
    first = plant.release("v1", plant.everyone())
    staged = plant.release("v2", plant.keys())
    (request,) = plant.registry.tuf(plant.keys()).pending()
    words = "\n".join(describe(request, NOW))
    assert f"new: steel v2, bundle {staged.digest}" in words and first.digest not in words
    assert "2 bundles in all" in words and "(365 days)" in words and "0 of 2 signatures" in words
    del request.metadata.signed.targets[f"bundles/{first.digest}.plb"]
    assert f"REMOVED: steel v1, bundle {first.digest}" in "\n".join(describe(request, NOW))
    assert "LONGER than targets ever lives" in "\n".join(describe(request, NOW - 30 * DAY))
    assert "ALREADY EXPIRED" in "\n".join(describe(request, NOW + 400 * DAY))


def test_a_holder_signs_for_no_other_chain_than_the_one_remembered(plant: TufPlant, tmp_path: Path) -> None:
    plant.release("v1", plant.keys())
    (request,) = plant.registry.tuf(plant.keys()).pending()
    stick = plant.sticks[0]
    assert not check_remembered(stick, request)
    remember_root(stick, request)
    assert check_remembered(stick, request)
    with tuf_plant(tmp_path / "other", create=True) as thief:
        thief.release("v1", thief.keys())
        thief.registry.tuf(load_keys(thief.online)).change_root({}, NOW)
        (thief.online / "targets.pem").unlink()
        thief.release("v9", thief.keys())
        (forged,) = thief.registry.tuf(thief.keys()).pending()
        with pytest.raises(BadBundle, match="does not descend from root 1"):
            check_remembered(stick, forged)


@pytest.mark.parametrize("damage", ["chain", "older", "current", "delegations"])
def test_a_request_that_stations_would_refuse_is_not_signed(plant: TufPlant, damage: str) -> None:
    plant.release("v1", plant.everyone())
    plant.release("v2", plant.keys())
    (request,) = plant.registry.tuf(plant.keys()).pending()
    check_request(request)
    assert request.current is not None
    if damage == "chain":
        request.roots[0].signatures.clear()
    elif damage == "older":
        request.metadata.signed.version = 1
    elif damage == "current":
        request.current.signed.targets.clear()
    else:
        from tuf.api.metadata import Delegations

        request.metadata.signed.delegations = Delegations({}, {})
    with pytest.raises(BadBundle, match="does not hold"):
        check_request(request)


def test_an_expired_root_is_refused_until_it_is_renewed(plant: TufPlant) -> None:
    late = NOW + 731 * DAY
    repository = plant.registry.tuf(plant.everyone())
    client = plant.client(repository.root())
    repository.refresh_online(late)
    with pytest.raises(RepositoryError, match="root"):
        client.refresh(late)
    assert repository.change_root({}, late) and repository.renew_targets(late)
    assert client.root(late) == 2


def test_renewed_targets_list_the_same_and_live_longer(plant: TufPlant) -> None:
    released = plant.release("v1", plant.everyone())
    repository, later = plant.registry.tuf(plant.keys()), NOW + 340 * DAY
    assert not repository.renew_targets(later)
    repository.refresh_online(later)
    client = plant.client(repository.root())
    assert client.sees(released.digest, later)
    copies = [plant.sign_elsewhere(each, stick) for each in repository.pending() for stick in plant.sticks[:2]]
    publish_pending(plant.registry, plant.keys(), copies, later)
    repository.refresh_online(NOW + 700 * DAY)
    assert client.sees(released.digest, NOW + 700 * DAY)


def test_fewer_signatures_than_the_threshold_are_refused_by_clients_too(plant: TufPlant) -> None:
    """The judge can say no: the same file with one signature taken away is refused."""
    plant.release("v1", plant.everyone())
    path = plant.registry.tuf_folder / "metadata" / "2.targets.json"
    metadata = Metadata.from_file(str(path))
    while len(metadata.signatures) > 1:
        metadata.signatures.popitem()
    metadata.to_file(str(path))
    with pytest.raises(UnsignedMetadataError, match="1/2"):
        plant.client(plant.registry.tuf(plant.keys()).root()).refresh()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_bytes_make_a_request_fall_over(data: st.DataObject) -> None:
    text = data.draw(
        st.one_of(
            st.binary(max_size=200),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=8),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(["role", "metadata", "signed", "signatures", "_type", "v", "roots"]), inner
                    )
                ),
                max_leaves=12,
            ).map(lambda value: str(value).replace("'", '"').encode()),
        )
    )
    with pytest.raises(PlumblineError):
        decode_request(text)
