from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from update_plant import NOW, STATION, Plant, plant

from cloud.registry.keys import init_keys
from contract.errors import LinkDown, TransientError
from contract.messages import DesiredState, ReportedState
from contract.update_states import MAX_TRIES


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Plant]:
    with plant(tmp_path) as made:
        yield made


def installed(here: Plant) -> set[str]:
    return {path.name for path in (here.home / "bundles" / "slots").iterdir()}


def test_first_order_is_installed_tried_and_committed(here: Plant) -> None:
    released = here.release("1")
    here.send(here.order(released, "roll-1"))
    loop = here.loop()
    said = here.settle(loop)
    assert here.report.states() == ["IDLE", "META", "DOWNLOAD", "STAGED", "SELFTEST", "TRIAL", "PROBATION", "COMMITTED"]
    assert (said.bundle, said.deployment, said.desired_seq) == (released.digest, "roll-1", 1)
    assert (said.shadow_frames, said.shadow_agreed) == (10, 9)
    booted = here.slots().boot_bundle()
    assert booted is not None and booted.digest == released.digest
    assert here.floors().read().desired_seq == 1
    # Nobody to agree with: the first trial asks for healthy frames alone.
    assert here.switch.offered[0].probation.min_agreement == 0.0
    assert not list((here.home / "incoming").iterdir())


def test_second_order_is_compared_with_the_incumbent_and_keeps_it_as_previous(here: Plant) -> None:
    first, second = here.deploy("1"), here.deploy("2", seed=1)
    assert here.switch.offered[-1].probation.min_agreement == 0.9
    assert [each.digest for each in here.slots().boot_bundles()] == [second.digest, first.digest]


def test_a_third_slot_is_the_most_there_ever_is(here: Plant) -> None:
    versions = [here.deploy(str(n), seed=n) for n in range(4)]
    assert installed(here) == {versions[-1].digest, versions[-2].digest}


def test_failed_trial_rolls_back_bans_and_never_retries_that_deployment(here: Plant) -> None:
    good = here.deploy("1")
    bad = here.release("2", seed=1)
    here.switch.verdict = "disagreed on 7 of 10 frames"
    envelope = here.send(here.order(bad, "roll-bad"))
    loop = here.loop()
    said = here.settle(loop)
    assert (said.update_state, said.reason, said.bundle) == ("ROLLED_BACK", "disagreed on 7 of 10 frames", good.digest)
    assert installed(here) == {good.digest}
    offered = len(here.switch.offered)
    here.send(envelope)  # the retained order comes again at every connection
    said = here.settle(loop)
    assert (said.update_state, said.deployment, said.reason) == (
        "ROLLED_BACK",
        "roll-bad",
        "disagreed on 7 of 10 frames",
    )
    here.send(here.order(bad, "roll-bad"))  # a fresh order of the same deployment: still banned
    here.settle(loop)
    assert len(here.switch.offered) == offered
    here.switch.verdict = ""
    here.send(here.order(bad, "roll-again"))
    assert here.settle(loop).update_state == "COMMITTED"


def test_rollback_is_a_new_order_for_old_bytes(here: Plant) -> None:
    first, second = here.deploy("1"), here.deploy("2", seed=1)
    downloads = len(here.server.seen)
    here.send(here.order(first, "back"))
    said = here.settle(here.loop())
    assert (said.update_state, said.bundle) == ("COMMITTED", first.digest)
    assert not any(".plb" in path for path, _ in here.server.seen[downloads:]), "the bytes were still in their slot"
    assert [each.digest for each in here.slots().boot_bundles()] == [first.digest, second.digest]


def test_order_for_the_running_bundle_is_committed_without_a_trial(here: Plant) -> None:
    first = here.deploy("1")
    offered = len(here.switch.offered)
    here.send(here.order(first, "abort"))
    said = here.settle(here.loop())
    assert (said.update_state, said.deployment, len(here.switch.offered)) == ("COMMITTED", "abort", offered)
    assert here.floors().read().desired_seq == 2


def test_redelivered_order_is_reported_again_and_not_installed_again(here: Plant) -> None:
    released = here.release("1")
    envelope = here.send(here.order(released, "roll-1"))
    here.settle(here.loop())
    here.clock.ran += 400 * 86400.0  # OTA-1: long after it expired
    here.send(envelope)
    loop = here.loop()
    requests = len(here.server.seen)
    said = here.settle(loop)
    assert (said.update_state, said.deployment, said.reason) == ("COMMITTED", "roll-1", "")
    assert len(here.server.seen) == requests


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda p, r: p.order(r, station="line9-cam9"), "line9-cam9"),
        (lambda p, r: p.order(r, now=NOW - 30 * 86400.0), "expired"),
        (lambda p, r: p.order(r, keys=init_keys(p.folder / "foreign")), "signature"),
        (lambda p, r: "{}", "envelope"),
        (lambda p, r: p.order(r).replace("payload", "paid"), "envelope"),
        (lambda p, r: p.order(r, desired_seq=1), "not newer"),
    ],
)
def test_order_that_must_not_be_followed_installs_nothing(here: Plant, spoil, word: str) -> None:
    running = here.deploy("1")
    other = here.release("2", seed=1)
    loop = here.loop()
    requests = len(here.server.seen)
    here.send(spoil(here, other))
    said = here.settle(loop)
    assert (said.update_state, said.bundle) == ("COMMITTED", running.digest)
    assert word in said.reason
    assert installed(here) == {running.digest} and len(here.server.seen) == requests
    assert loop.refused_orders == 1


def test_an_order_alone_installs_nothing(here: Plant) -> None:
    """The order key is stolen; the image keys are not (P3)."""
    stolen = here.release("1")
    for path in (here.registry.tuf_folder / "metadata").glob("*"):
        path.unlink()
    here.registry.tuf(here.keys).create(NOW)  # a repository that vouches for nothing
    here.send(here.order(stolen))
    said = here.settle(here.loop(), ticks=4000)
    assert said.update_state == "ROLLED_BACK"
    assert not installed(here) and not here.switch.offered


def test_images_alone_install_nothing(here: Plant) -> None:
    here.release("1")
    loop = here.loop()
    for _ in range(10):
        loop.tick(1.0)
    assert not installed(here) and here.report.states() == ["IDLE"] and not here.server.seen


def test_foreign_image_repository_installs_nothing(here: Plant, tmp_path: Path) -> None:
    released = here.release("1")
    with plant(tmp_path / "foreign") as foreign:
        foreign.release("1")
        here.server, kept = foreign.server, here.server
        here.send(here.order(released))
        said = here.settle(here.loop(), ticks=4000)
        here.server = kept
    assert said.update_state == "ROLLED_BACK" and "does not hold" in said.reason and not installed(here)


def test_image_repository_that_went_backwards_is_refused_even_with_the_cache_gone(here: Plant) -> None:
    old = here.release("1")
    served = {path: path.read_bytes() for path in (here.registry.tuf_folder / "metadata").iterdir()}
    new = here.deploy("2", seed=1)
    for path in (here.home / "tuf").glob("*.json"):
        path.unlink()  # what python-tuf would lose in a power cut
    for path, data in served.items():
        path.write_bytes(data)
    here.send(here.order(old))
    said = here.settle(here.loop(), ticks=4000)
    assert said.update_state == "ROLLED_BACK" and "backwards" in said.reason
    assert said.bundle == new.digest and installed(here) == {new.digest}


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json", "root_history"])
@pytest.mark.parametrize("damage", ["torn", "folder"])
def test_damaged_metadata_cache_never_stops_updates_for_good(here: Plant, name: str, damage: str) -> None:
    here.deploy("1")
    path = here.home / "tuf" / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if damage == "torn":
        path.write_bytes(b'{"signed"')
    else:
        (path / "inside").mkdir(parents=True)
    other = here.release("2", seed=1)
    here.send(here.order(other))
    assert here.settle(here.loop(), ticks=100).bundle == other.digest


def test_order_and_image_repository_must_agree_on_the_size(here: Plant) -> None:
    released = here.release("1")
    here.send(here.order(released, size_bytes=released.size_bytes + 1))
    said = here.settle(here.loop(), ticks=4000)
    assert said.update_state == "ROLLED_BACK" and "the image repository" in said.reason and not installed(here)
    assert not any(".plb" in path for path, _ in here.server.seen)


def test_clock_at_1970_neither_revives_an_expired_order_nor_blocks_a_fresh_one(here: Plant) -> None:
    here.deploy("1")
    other = here.release("2", seed=1)
    stale, fresh = here.order(other, now=NOW - 30 * 86400.0), here.order(other)
    here.clock.at = 0.0
    here.send(stale)
    loop = here.loop()
    assert "expired" in here.settle(loop).reason
    here.send(fresh)
    assert here.settle(loop).bundle == other.digest


def test_bundle_older_than_the_release_counter_never_runs(here: Plant) -> None:
    old = here.deploy("1")
    here.deploy("2", seed=1, release_counter=5)
    here.send(here.order(old, release_counter=0))
    loop = here.loop()
    assert "release counter" in here.settle(loop).reason
    here.send(here.order(old, "lie", release_counter=5))  # the order's word does not make the bundle younger
    said = here.settle(loop)
    assert said.update_state == "ROLLED_BACK" and "release counter 0" in said.reason


def test_self_test_that_fails_rolls_back_before_any_frame(here: Plant) -> None:
    here.selftest.reason = "the self-test died of SIGSEGV"
    here.send(here.order(here.release("1")))
    said = here.settle(here.loop())
    assert (said.update_state, said.reason) == ("ROLLED_BACK", "self-test: the self-test died of SIGSEGV")
    assert not here.switch.offered


def test_failed_report_never_rolls_back(here: Plant) -> None:
    released = here.release("1")
    here.send(here.order(released))

    class Deaf:
        def publish(self, state: ReportedState) -> None:
            raise LinkDown("the broker is away")

    loop = here.loop(report=Deaf())
    for _ in range(20):
        loop.tick(1.0)
    booted = here.slots().boot_bundle()
    assert booted is not None and booted.digest == released.digest


def test_server_that_is_down_is_asked_again_with_growing_waits(here: Plant) -> None:
    released = here.release("1")
    here.server.statuses["timestamp.json"] = 503
    here.send(here.order(released))
    loop = here.loop()
    for _ in range(120):
        loop.tick(1.0)
    asked = sum("timestamp.json" in path for path, _ in here.server.seen)
    assert 4 <= asked <= 12 and here.report.said[-1].update_state == "META"
    here.server.statuses.clear()
    assert here.settle(loop, ticks=4000).update_state == "COMMITTED"


def test_404_is_given_up_after_a_few_tries_and_banned(here: Plant) -> None:
    here.server.statuses[".plb"] = 404
    here.send(here.order(here.release("1"), "roll-1"))
    said = here.settle(here.loop(), ticks=4000)
    assert (said.update_state, said.deployment) == ("ROLLED_BACK", "roll-1") and "404" in said.reason
    assert sum(".plb" in path for path, _ in here.server.seen) == 5


def test_swapped_bytes_are_never_installed(here: Plant) -> None:
    released = here.release("1")
    here.server.substitutes[".plb"] = bytes(released.size_bytes)
    here.send(here.order(released))
    said = here.settle(here.loop(), ticks=4000)
    assert said.update_state == "ROLLED_BACK" and "comes wrong" in said.reason and not installed(here)


def test_newer_order_supersedes_one_being_downloaded(here: Plant) -> None:
    slow, fast = here.release("1", filler_bytes=3 << 20), here.release("2", seed=1)
    here.server.cut_after = 1 << 20
    here.send(here.order(slow))
    loop = here.loop()
    for _ in range(3):
        loop.tick(1.0)
    assert here.report.said[-1].update_state == "DOWNLOAD"
    here.server.cut_after = None
    here.send(here.order(fast))
    assert here.settle(loop).bundle == fast.digest
    assert [trial.bundle.digest for trial in here.switch.offered] == [fast.digest]


def test_newer_order_ends_a_trial_and_the_incumbent_comes_back(here: Plant) -> None:
    good, slow = here.deploy("1"), here.release("2", seed=1)
    here.switch.verdict = None
    here.send(here.order(slow))
    loop = here.loop()
    for _ in range(8):
        loop.tick(1.0)
    assert here.slots().trial() is not None
    here.inbox.put(DesiredState(STATION, "junk"))
    loop.tick(1.0)
    assert here.slots().trial() is not None and not here.switch.withdrawn, "only an order that holds ends a trial"
    here.send(here.order(good, "abort"))
    said = here.settle(loop)
    assert (said.update_state, said.bundle, said.deployment) == ("COMMITTED", good.digest, "abort")
    assert [bundle for _, bundle in here.switch.withdrawn] == [slow.digest]
    assert here.slots().trial() is None and not here.slots().banned()


def test_order_to_run_nothing_needs_no_image_and_is_taken_back_by_the_next_order(here: Plant) -> None:
    good = here.deploy("1")
    loop = here.loop()
    requests = len(here.server.seen)
    here.send(here.order(good, "stop", bundle="", size_bytes=0))
    said = here.settle(loop)
    assert (said.update_state, said.bundle, said.deployment) == ("COMMITTED", "", "stop")
    assert here.switch.recalled == [None] and here.slots().boot_bundle() is None
    assert len(here.server.seen) == requests
    here.send(here.order(good, "go on"))
    assert here.settle(loop).bundle == good.digest
    booted = here.slots().boot_bundle()
    assert booted is not None and booted.digest == good.digest


def test_a_shut_down_in_a_trial_is_no_try(here: Plant) -> None:
    good, slow = here.deploy("1"), here.release("2", seed=1)
    here.switch.verdict = None
    here.send(here.order(slow))
    for _ in range(MAX_TRIES + 2):
        loop = here.loop()
        for _ in range(8):
            loop.tick(1.0)
        loop.forgive()
    assert here.report.said[-1].update_state == "TRIAL" and here.report.said[-1].bundle == good.digest
    here.switch.verdict = ""
    assert here.settle(loop, ticks=200).bundle == slow.digest


def test_order_to_stop_is_obeyed_though_the_disk_fails_right_after_its_commit(here: Plant, monkeypatch) -> None:
    here.deploy("1")
    loop = here.loop()

    def fail(*_: object) -> None:
        monkeypatch.undo()
        raise TransientError("the disk failed")

    monkeypatch.setattr(type(here.report), "publish", fail)
    here.send(here.order(here.release("2", seed=1), "stop", bundle="", size_bytes=0))
    for _ in range(5):
        loop.tick(1.0)
    assert here.switch.recalled == [None]


def test_whoever_judges_without_having_been_committed_is_recalled_and_a_fallback_is_told(here: Plant) -> None:
    first, second = here.deploy("1"), here.deploy("2", seed=1)
    loop = here.loop()
    here.switch.judging = first.digest
    loop.tick(0.1)
    loop.tick(0.1)
    assert not here.switch.recalled and f"judged by bundle {first.digest[:12]}" in here.report.said[-1].reason
    here.send(here.order(second, "again"))
    assert here.settle(loop).update_state == "COMMITTED"
    assert [bundle.digest for bundle in here.switch.recalled if bundle] == [second.digest], "given another chance"
    here.switch.judging = "f" * 64
    loop.tick(0.1)
    assert [bundle.digest for bundle in here.switch.recalled if bundle] == [second.digest, second.digest]
    here.switch.judging = second.digest
    loop.tick(0.1)
    loop.tick(0.1)
    assert here.report.said[-1].reason == ""


def test_older_order_does_not_come_back_after_a_newer_one_failed(here: Plant) -> None:
    good, old = here.deploy("1"), here.release("2", seed=1)
    captured = here.order(old, "roll-2")
    here.switch.verdict = "it decides otherwise"
    here.send(here.order(here.release("3", seed=2), "roll-3"))
    loop = here.loop()
    assert here.settle(loop).update_state == "ROLLED_BACK"
    here.switch.verdict = ""
    for start in (lambda: loop, here.loop):  # a restart raises the floor by itself: first without one
        running = start()
        here.send(captured)
        said = here.settle(running)
        assert (said.bundle, said.deployment) == (good.digest, "roll-3")


def test_expired_order_is_judged_again_when_the_clock_is_set_right(here: Plant) -> None:
    here.deploy("1")
    other = here.release("2", seed=1)
    envelope = here.order(other)
    here.clock.at += 90 * 86400.0
    here.send(envelope)
    loop = here.loop()
    assert "expired" in here.settle(loop).reason
    here.clock.at -= 90 * 86400.0
    for _ in range(200):
        loop.tick(1.0)
    assert here.report.said[-1].bundle == other.digest
    assert loop.refused_orders == 1


def test_a_few_seconds_of_404_use_up_no_order(here: Plant) -> None:
    released = here.release("1")
    here.server.statuses["timestamp.json"] = 404
    here.send(here.order(released))
    loop = here.loop()
    for _ in range(60):
        loop.tick(1.0)
    here.server.statuses.clear()
    assert here.settle(loop, ticks=4000).update_state == "COMMITTED"


def test_junk_order_does_not_stop_a_download(here: Plant) -> None:
    released = here.release("1", filler_bytes=2 << 20)
    here.send(here.order(released))
    loop = here.loop()
    loop.tick(1.0)
    loop.tick(1.0)
    here.inbox.put(DesiredState(STATION, "junk"))
    assert here.settle(loop, ticks=4000).bundle == released.digest


def test_restart_in_mid_trial_tries_again_and_gives_up_after_three(here: Plant) -> None:
    good = here.deploy("1")
    bad = here.release("2", seed=1)
    here.switch.verdict = None
    here.send(here.order(bad, "crashing"))
    for _ in range(MAX_TRIES):  # each loop is a process that dies on probation
        loop = here.loop()
        for _ in range(8):
            loop.tick(1.0)
        assert here.report.said[-1].update_state == "TRIAL"
    offered = len(here.switch.offered)
    here.loop()
    said = here.report.said[-1]
    assert (said.update_state, said.deployment, said.bundle) == ("ROLLED_BACK", "crashing", good.digest)
    assert "3 times" in said.reason and len(here.switch.offered) == offered == 4


def test_trial_that_never_ends_is_rolled_back(here: Plant) -> None:
    here.deploy("1")
    here.switch.verdict = None
    here.send(here.order(here.release("2", seed=1)))
    said = here.settle(here.loop(), ticks=4000)
    assert said.update_state == "ROLLED_BACK" and "no end" in said.reason


def test_torn_state_file_costs_the_trial_and_not_the_bundle(here: Plant) -> None:
    good = here.deploy("1")
    here.switch.verdict = None
    here.send(here.order(here.release("2", seed=1)))
    loop = here.loop()
    for _ in range(8):
        loop.tick(1.0)
    state = here.home / "bundles" / "state"
    state.write_bytes(state.read_bytes()[:-7])
    here.loop()
    assert here.report.said[-1].bundle == good.digest
    assert here.slots().trial() is None


def test_floors_survive_a_commit_that_lost_power_before_them(here: Plant) -> None:
    here.deploy("1")
    for path in (here.home / "floors").iterdir():
        path.unlink()
    here.loop()
    assert here.floors().read().desired_seq == 1


def test_tampered_envelope_fails_whatever_byte_is_changed(here: Plant) -> None:
    envelope = here.order(here.release("1"))
    wire = msgspec.json.decode(envelope)
    loop = here.loop()
    for part in ("payload", "payloadType"):
        changed = dict(wire) | {part: wire[part][:8] + ("A" if wire[part][8] != "A" else "B") + wire[part][9:]}
        here.send(msgspec.json.encode(changed).decode())
        here.settle(loop)
    assert loop.refused_orders == 2 and not installed(here)
