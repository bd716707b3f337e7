"""The commands for keys, from init to rotation, as a person or a script runs them."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from cloud.__main__ import main
from cloud.registry.keys import init_keys, load_keys
from cloud.registry.release import Registry, release
from contract.signature import OrderKey
from tests.cloud.registry.tuf_plant import content

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def home(tmp_path: Path, run: Run) -> Path:
    """A home whose root and targets keys are 2 of 2, on two sticks."""
    sticks = [tmp_path / name for name in ("a", "b")]
    more = [word for stick in sticks for word in ("--offline", stick)]
    sizes = ("--root-keys", 2, "--root-threshold", 2, "--targets-keys", 2, "--targets-threshold", 2)
    assert run("keys", "init", "--out", tmp_path / "home" / "keys", *sizes, *more)[0] == 0
    code, out, _ = run("init", "--home", tmp_path / "home", "--keys", sticks[0], "--keys", sticks[1])
    assert code == 0 and "no station" not in out
    return tmp_path / "home"


def staged(home: Path, version: str) -> str:
    registry = Registry(home / "registry")
    return release(content(home / "content", version), registry, load_keys(home / "keys"), time.time()).digest


def test_a_staged_release_is_shown_signed_on_two_machines_and_published(home: Path, run: Run) -> None:
    config = ("--config", home / "cloud.toml")
    digest = staged(home, "v1")
    code, out, _ = run("keys", "pending", *config)
    assert (
        code == 0 and digest in out and "0 of 2" in out and "keys sign" in out and "not listed before that: v1" in out
    )
    code, out, _ = run("keys", "pending", *config, "--json")
    (request,) = json.loads(out)["requests"]
    file = request["file"]
    code, _, err = run("keys", "publish", *config)
    assert code == 1 and "targets-1" in err and "targets-2" in err
    code, out, _ = run("keys", "sign", file, "--keys", home.parent / "a", "--yes")
    assert code == 0 and digest in out and "1 of 2" in out and "remembers no root" in out
    code, out, _ = run("keys", "sign", file, "--keys", home.parent / "b", "--yes", "--json")
    assert code == 0 and json.loads(out)[0]["complete"]
    code, out, _ = run("keys", "publish", file, *config, "--json")
    assert code == 0 and json.loads(out)["listed"] == ["v1"]
    assert Registry(home / "registry").catalog.get("v1").digest == digest
    assert "nothing waits" in run("keys", "pending", *config)[1]
    assert run("keys", "publish", *config)[0] == 0


def test_nothing_is_signed_without_a_yes(home: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    staged(home, "v1")
    file = json.loads(run("keys", "pending", "--config", home / "cloud.toml", "--json")[1])["requests"][0]["file"]
    before = Path(file).read_bytes()
    for answer in ("n\n", "", "maybe\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        code, _, err = run("keys", "sign", file, "--keys", home.parent / "a")
        assert code == 1 and "was not signed" in err and Path(file).read_bytes() == before
    assert not (home.parent / "a" / "known_root.json").exists()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run("keys", "sign", file, "--keys", home.parent / "a")[0] == 0
    code, _, err = run("keys", "sign", file, "--keys", home / "keys", "--yes")
    assert code == 1 and "no key in" in err and "targets-2" in err


def test_given_up_releases_wait_no_more(home: Path, run: Run) -> None:
    staged(home, "v1")
    assert run("keys", "pending", "--drop", "--config", home / "cloud.toml")[0] == 0
    assert Registry(home / "registry").pending.releases() == []
    assert staged(home, "v1"), "the name is free again"


def test_rotations_name_what_they_made_and_what_is_next(home: Path, run: Run) -> None:
    config, sticks = ("--config", home / "cloud.toml"), ("--keys", home.parent / "a", "--keys", home.parent / "b")
    code, out, _ = run("keys", "rotate", "timestamp", *config)
    assert code == 0 and "timestamp-2.pem" in out and "keys sign" in out
    assert run("keys", "rotate", "snapshot", *config)[0] == 1
    code, out, _ = run("keys", "publish", *config, *sticks)
    assert code == 0 and "published root 2" in out
    code, out, _ = run("keys", "rotate", "root", "--count", 3, "--threshold", 2, *config, *sticks, "--json")
    assert code == 0 and json.loads(out)["root"]["published"] and len(json.loads(out)["made"]) == 3
    code, out, _ = run("keys", "renew", "targets", *config, *sticks)
    assert code == 0 and "targets is valid until" in out
    code, out, _ = run("keys", "status", *config, *sticks)
    assert code == 0 and "2 of 3" in out and "timestamp.pem" in out
    for words in (("rotate", "root", "--count", 3), ("rotate", "snapshot", "--count", 2, "--threshold", 2),
                  ("rotate", "timestamp", "--revoke"), ("rotate", "root", "--lost")):  # fmt: skip
        code, _, err = run("keys", *words, *config)
        assert code == 1 and err.startswith("error: ") and "(" in err, words


def test_status_ends_with_3_when_it_is_late(home: Path, run: Run) -> None:
    config = ("--config", home / "cloud.toml")
    code, out, _ = run("keys", "status", *config, "--json")
    shown = json.loads(out)
    assert code == 0 and shown["state"] == "ok" and len(shown["roles"]) == 4 and shown["waiting"] == []
    # Signed long ago, and never again.
    old = home.parent / "old"
    Registry(old / "registry").tuf(init_keys(old / "keys")).create(time.time() - 2.5 * 86_400)
    (old / "cloud.toml").write_text("")
    code, out, err = run("keys", "status", "--config", old / "cloud.toml", "--json")
    assert code == 3 and json.loads(out)["state"] == "late"
    code, out, err = run("keys", "status", "--config", old / "cloud.toml")
    assert code == 3 and "timestamp metadata expires" in err and "late" in out


def test_a_new_station_pins_the_newest_root_and_the_order_keys_that_count(home: Path, run: Run) -> None:
    config, sticks = ("--config", home / "cloud.toml"), ("--keys", home.parent / "a", "--keys", home.parent / "b")
    assert run("keys", "rotate", "root", "order", *config, *sticks)[0] == 0
    assert run("station", "add", "cam1", "--out", home / "cam1", *config)[0] == 0
    agent = msgspec.toml.decode((home / "cam1" / "agent.toml").read_text())
    pinned = [
        msgspec.json.decode((home / "cam1" / f).read_bytes(), type=OrderKey) for f in agent["trust"]["order_keys"]
    ]
    assert pinned == list(load_keys(home / "keys").order_keys()) and len(pinned) == 2
    assert json.loads((home / "cam1" / "trust" / "root.json").read_bytes())["signed"]["version"] == 2
    code, out, _ = run("keys", "rotate", "order", "--revoke", *config)
    assert code == 0 and "the old order key signs until" in out and "rotate order --revoke" in out, (
        "no targets key here"
    )
    assert pinned == list(load_keys(home / "keys").order_keys())
    assert "NEW ORDER KEYS for every station" in run("keys", "pending", *config)[1]
    assert run("keys", "rotate", "order", "--revoke", *config, *sticks)[0] == 0
    assert run("station", "add", "cam2", "--out", home / "cam2", *config)[0] == 0
    agent = msgspec.toml.decode((home / "cam2" / "agent.toml").read_text())
    assert agent["trust"]["order_keys"] == ["trust/order_key.json"]
    found = msgspec.json.decode((home / "cam2" / "trust" / "order_key.json").read_bytes(), type=OrderKey)
    assert found == load_keys(home / "keys").order_key()


def test_a_home_made_without_the_sticks_says_what_is_missing(tmp_path: Path, run: Run) -> None:
    keys = tmp_path / "home" / "keys"
    assert run("keys", "init", "--out", keys, "--offline", tmp_path / "stick")[0] == 0
    code, out, _ = run("init", "--home", tmp_path / "home", "--keys", keys)
    assert code == 0 and "no station can be added before this" in out and "root 1 has 0 of 1" in out
    config = ("--config", tmp_path / "home" / "cloud.toml")
    requests = json.loads(run("keys", "pending", *config, "--json")[1])["requests"]
    files = [each["file"] for each in requests]
    assert run("keys", "sign", *files, "--keys", tmp_path / "stick", "--yes")[0] == 0
    assert run("keys", "publish", *config)[0] == 0
    assert run("station", "add", "cam1", "--out", tmp_path / "cam1", *config)[0] == 0


@pytest.mark.parametrize("action", ["init", "pending", "sign", "publish", "rotate", "renew", "status"])
def test_every_action_shows_an_example(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["keys", action, "--help"])
    assert stopped.value.code == 0
    assert f"plumbline-cloud keys {action}" in capsys.readouterr().out
