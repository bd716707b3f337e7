"""Killed before any single step that changes the disk, the repository is one that clients accept, and the command can be repeated.

The steps are found by tracing: a child process runs the command and dies (no cleanup, as by kill -9) before its n-th step, for
n = 0, 1, 2 ... until it gets through. Clients are python-tuf's: a new one, and one that knows the repository from before.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloud.registry.keys import init_keys, load_keys
from cloud.registry.order_keys import rotate_order_key, standing_order_keys
from cloud.registry.release import Registry, publish_pending, release
from cloud.registry.rotation import rotate_roles
from contract.errors import RefusedError
from contract.messages import Order, Probation
from contract.signature import sign_order, verify_order, verify_order_keys
from tests.cloud.registry.tuf_plant import DAY, NOW, Client, content, served

_KILLED = 99
_COARSE = frozenset({"os.rename", "os.remove", "os.link"})
_FINE = _COARSE | {"open", "os.mkdir", "os.chmod"}


def run_killed(command: Callable[[], object], folder: Path, step: int, events: frozenset[str]) -> bool:
    """Run `command` in a child that dies before its step number `step`; return whether it did die."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _die_before(step, folder, events)
            command()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, _KILLED), "the command itself failed"
    return os.waitstatus_to_exitcode(status) == _KILLED


def _die_before(step: int, folder: Path, events: frozenset[str]) -> None:
    seen = -1

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event not in events or not str(arguments[0]).startswith(str(folder)):
            return
        if event == "open" and not int(arguments[2]) & (os.O_WRONLY | os.O_RDWR):  # type: ignore[call-overload]
            return
        seen += 1
        if seen == step:
            os._exit(_KILLED)

    sys.addaudithook(hook)


@dataclass(frozen=True)
class Case:
    """`command` changes the registry in a folder; `done` says whether it is whole there."""

    prepare: Callable[[Path], object]
    command: Callable[[Path], object]
    done: Callable[[Path], bool]
    roots: int = 1


def _all(folder: Path):
    return load_keys(folder / "keys", folder / "stick")


def _registry(folder: Path) -> Registry:
    return Registry(folder / "registry")


def _release(folder: Path, version: str, sticks: bool = True) -> object:
    keys = _all(folder) if sticks else load_keys(folder / "keys")
    return release(content(folder / "content", version), _registry(folder), keys, NOW)


def _rotate(*roles: str, **more: bool) -> Callable[[Path], object]:
    def command(folder: Path) -> object:
        return rotate_roles(_registry(folder), _all(folder), dict.fromkeys(roles), NOW, **more)

    return command


def _stage_rotation(folder: Path) -> None:
    keys = load_keys(folder / "keys")
    _release(folder, "v2", sticks=False)
    assert not rotate_roles(_registry(folder), keys, dict.fromkeys(("targets", "timestamp")), NOW).published


def _publish(folder: Path) -> object:
    return publish_pending(_registry(folder), _all(folder), [], NOW)


def _at_root(number: int) -> Callable[[Path], bool]:
    return lambda folder: len(_registry(folder).tuf(_all(folder)).roots()) >= number


def _listed(version: str) -> Callable[[Path], bool]:
    def done(folder: Path) -> bool:
        found, registry = _registry(folder).catalog.find(version), _registry(folder)
        return (
            found is not None
            and found.digest in registry.tuf(_all(folder)).digests()
            and registry.pending.releases() == []
            and len(registry.tuf(_all(folder)).digests()) == len(registry.catalog.all())
        )

    return done


def _nothing(folder: Path) -> None:
    pass


CASES = {
    "release": Case(_nothing, lambda f: _release(f, "v2"), _listed("v2")),
    "rotate root": Case(_nothing, _rotate("root"), _at_root(2), 2),
    "rotate targets": Case(_nothing, _rotate("targets"), _at_root(2), 2),
    "rotate timestamp": Case(_nothing, _rotate("timestamp"), _at_root(2), 2),
    "rotate all": Case(_nothing, _rotate("root", "targets", "snapshot", "timestamp"), _at_root(2), 2),
    "publish what waited": Case(_stage_rotation, _publish, lambda f: _listed("v2")(f) and _at_root(2)(f), 2),
    "stage a release": Case(
        _nothing,
        lambda f: _release(f, "v2", sticks=False),
        lambda f: [r.version for r in _registry(f).pending.releases()] == ["v2"],
    ),
    "sign again": Case(
        _nothing,
        lambda f: _registry(f).tuf(_all(f)).refresh_online(NOW + 10 * DAY),
        lambda f: _registry(f).tuf(_all(f)).expires_at()["timestamp"] > NOW + 12 * DAY,
    ),
}


def sweep(tmp_path: Path, case: Case, events: frozenset[str]) -> int:
    base = tmp_path / "base"
    keys = init_keys(base / "keys", offline=[base / "stick"])
    pinned = Registry(base / "registry").tuf(keys).create(NOW)
    released = release(content(base / "content", "v1"), Registry(base / "registry"), keys, NOW)
    with served(base / "registry" / "tuf") as url:
        assert Client(base / "client", url, pinned).sees(released.digest)
    case.prepare(base)
    step = 0
    while True:
        here = tmp_path / f"run-{step}"
        shutil.copytree(base, here)
        killed = run_killed(lambda here=here: case.command(here), here, step, events)
        with served(here / "registry" / "tuf") as url:
            _accepted(here, url, pinned, released.digest, f"after a kill before step {step}")
            # The server signs as ever, whatever was left half done.
            later = NOW + 2 * DAY
            _registry(here).tuf(load_keys(here / "keys")).refresh_online(later)
            _accepted(here, url, pinned, released.digest, f"signed again after step {step}")
            if not case.done(here):
                try:
                    case.command(here)
                except RefusedError as error:
                    # Killed when its root waited already, a rotation says how it is finished.
                    assert "keys publish" in error.hint, error
                    _publish(here)
            assert case.done(here), f"not whole when repeated after a kill before step {step}"
            _accepted(here, url, pinned, released.digest, f"repeated after step {step}")
            assert _registry(here).tuf(_all(here)).pending() == [] or case is CASES["stage a release"]
        shutil.rmtree(here)
        if not killed:
            return step
        step += 1


def _accepted(here: Path, url: str, pinned: bytes, digest: str, when: str) -> None:
    fresh = here / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    for cache in (fresh, here / "client"):
        assert Client(cache, url, pinned).sees(digest), f"{cache.name} client, {when}"


@pytest.mark.parametrize("name", ["release", "rotate all", "publish what waited"])
def test_killed_between_any_two_changes_clients_accept_what_is_there(tmp_path: Path, name: str) -> None:
    assert sweep(tmp_path, CASES[name], _COARSE) >= 3


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(CASES))
def test_killed_before_any_step_at_all_clients_accept_what_is_there(tmp_path: Path, name: str) -> None:
    assert sweep(tmp_path, CASES[name], _FINE) >= 4


def test_killed_while_the_order_key_is_replaced_the_old_one_signs_or_the_new_one(tmp_path: Path) -> None:
    init_keys(tmp_path / "base")
    old = load_keys(tmp_path / "base").order_key()
    order = Order("cam1", "ab" * 32, 5, "d", 1, 0, NOW, NOW + DAY, Probation(10, 0.9))
    step, killed = 0, True
    while killed:
        here = tmp_path / f"run-{step}"
        shutil.copytree(tmp_path / "base", here)
        killed = run_killed(lambda here=here: rotate_order_key(load_keys(here), NOW, revoke=True), here, step, _FINE)
        for _ in range(2):
            keys = load_keys(here)
            signed = sign_order(order, keys.signer("order"))
            known = [old]
            if envelope := standing_order_keys(keys):
                from contract.signature import OrderKey

                known = [OrderKey(*each) for each in verify_order_keys(envelope, [old]).keys.items()]
            assert verify_order(signed, known) == order, f"after a kill before step {step}"
            if not standing_order_keys(keys):
                rotate_order_key(keys, NOW, revoke=True)
        assert standing_order_keys(load_keys(here))
        step += 1
    assert step >= 5
