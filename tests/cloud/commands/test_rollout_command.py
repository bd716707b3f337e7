"""plumbline-cloud rollout, against the real routes and a real rollout loop."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloud.__main__ import main
from cloud.api.app import make_app
from cloud.api.auth import Guards, Person, Role, file_tokens
from cloud.api.idempotency import FirstAnswers
from cloud.api.rollout_acts import RolloutActs
from cloud.api.rollouts import rollout_routes
from tests.cloud.api.conftest import serve
from tests.fakes.rollout_fleet import NEW, RolloutFleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RolloutFleet]:
    made = RolloutFleet(tmp_path / "cloud.db", stations=4)
    yield made
    made.close()


Cli = Callable[..., int]


@pytest.fixture
def cli(fleet: RolloutFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """Type `rollout ...` as anna, or as who is named."""
    people = {Person(name, Role.RELEASER): f"token of {name}" for name in ("anna", "bert")}
    people[Person("vic", Role.VIEWER)] = "token of vic"
    guards = Guards(file_tokens(people))
    routes = rollout_routes(
        guards=guards,
        reading=fleet.reading,
        approvals=fleet.tables.rollouts.approvals,
        acts=RolloutActs(fleet.loop, fleet.reading.one, fleet.clock.now),
        first_answers=FirstAnswers(),
    )
    served = serve(make_app([routes]))
    port = next(served).rpartition(":")[2]
    config = tmp_path / "cloud.toml"
    config.write_text(f"[api]\nport = {port}\n")
    for person in people:
        (tmp_path / person.name).write_text(f"token of {person.name}")

    def run(*words: str, who: str = "anna") -> int:
        monkeypatch.setenv("PLUMBLINE_TOKEN_FILE", str(tmp_path / who))
        return main(["rollout", *words, "--config", str(config)])

    yield run
    next(served, None)


def test_start_list_show_and_abort(fleet: RolloutFleet, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("start", "--version", "v2", "--reason", "finds scratches", "--soak-s", "60") == 0
    assert capsys.readouterr().out == "rollout 1 of v2 has started\n"
    fleet.loop.tick()
    assert cli("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:4] == ["1", "v2", "release", "RUNNING"] and "ago by anna" in lines[1]
    assert "waits for s1, ordered" in lines[2] and "nothing said yet" in lines[2]
    assert cli("show", "1", "--state", "ordered") == 0
    shown = capsys.readouterr().out
    assert "0 of 1 committed, 1 under way" in shown and "started" in shown and "s1" in shown and "s2" not in shown
    assert cli("abort", "1", "--reason", "wrong lamp") == 0
    assert "being stopped" in capsys.readouterr().out
    assert cli("abort", "1", "--reason", "again") == 1
    assert "ABORTING" in capsys.readouterr().err


def test_the_json_has_one_form(fleet: RolloutFleet, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    def said() -> dict[str, object]:
        found: dict[str, object] = json.loads(capsys.readouterr().out)
        return found

    cli("start", "--version", "v2", "--json")
    started = said()
    assert (started["id"], started["state"], started["author"]) == (1, "RUNNING", "anna")
    forms = [started.keys()]
    for words in (("pause", "1", "--reason", "lunch"), ("resume", "1"), ("show", "1"), ("abort", "1", "--reason", "x")):
        assert cli(*words, "--json") == 0
        forms.append(said().keys())
    cli("list", "--json")
    forms.append(json.loads(capsys.readouterr().out)[0].keys())
    assert all(form == forms[0] for form in forms)


def test_waiting_tells_each_wave_and_ends_with_what_came_of_it(
    fleet: RolloutFleet, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    with _turning(fleet):
        assert cli("start", "--version", "v2", "--wait") == 0
    told = capsys.readouterr()
    assert told.out.startswith("rollout 1: DONE")
    assert "canary (1 of" in told.err
    assert set(fleet.fleet.running.values()) == {NEW}


def test_one_that_stops_itself_is_3_and_so_is_one_that_takes_too_long(
    fleet: RolloutFleet, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    cli("start", "--version", "v2")
    assert cli("watch", "1", "--timeout", "0") == 3
    assert "is RUNNING after 0 s" in capsys.readouterr().out
    fleet.fleet.refuse.add("s1")
    with _turning(fleet):
        assert cli("watch", "1") == 3
    assert "rollout 1: ABORTED (s1:" in capsys.readouterr().out


def test_two_people_approve_and_the_author_is_not_one_of_them(
    fleet: RolloutFleet, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    cli("start", "--version", "v2", "--approvals", "1")
    assert cli("approve", "1") == 1
    assert "'anna' asked for rollout 1 and cannot approve it" in capsys.readouterr().err
    assert cli("approve", "1", who="vic") == 1
    assert cli("reject", "1", "--reason", "no gate report", who="bert") == 0
    assert cli("approve", "1", "--note", "read it", who="bert") == 0
    fleet.loop.tick()
    capsys.readouterr()
    cli("show", "1")
    assert "approved by bert" in capsys.readouterr().out


def test_two_versions_side_by_side_and_back_again(
    fleet: RolloutFleet, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("ab", "start", "--version", "v2") == 0
    fleet.turns(20)
    fleet.compare(1)
    capsys.readouterr()
    assert cli("ab", "report", "1") == 0
    report = capsys.readouterr().out
    assert "Arm a, v1: 2 stations, 200 frames (PASS 70.5%, REJECT 29.5%)" in report
    assert "Time a frame: b is -4.0 ms against a" in report
    assert cli("ab", "conclude", "1", "--keep", "a", "--reason", "slower") == 0
    fleet.turns(20)
    assert cli("watch", "1", "--timeout", "0", "--json") in (0, 3)
    assert cli("rollback", "--version", "v1", "--reason", "to be sure") == 0


class _turning:
    """A server's loop and stations that go on meanwhile."""

    def __init__(self, fleet: RolloutFleet) -> None:
        self._fleet, self._stop = fleet, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.3):
            self._fleet.turns(1)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
