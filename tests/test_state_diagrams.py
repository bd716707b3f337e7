"""The diagrams say what the tables say, and every table keeps the laws of a state machine."""

from __future__ import annotations

import importlib
from enum import Enum
from pathlib import Path

import pytest

from contract.errors import IllegalTransition
from scripts import draw_states
from scripts.draw_states import TABLES, Machine, diagram, main, unlisted

machines = pytest.mark.parametrize("machine", TABLES, ids=lambda machine: machine.name)


def reachable(machine: Machine, start: Enum) -> set[Enum]:
    """Return the states that can follow `start`, itself among them."""
    seen, todo = {start}, [start]
    while todo:
        for following in machine.table()[todo.pop()].values():
            if following not in seen:
                seen.add(following)
                todo.append(following)
    return seen


def start_of(machine: Machine) -> Enum:
    return next(state for state in machine.table() if state.name == machine.start)


def test_the_page_is_fresh_and_no_table_is_left_out() -> None:
    assert unlisted() == []
    assert main(["--check"]) == 0


def test_a_stale_page_and_a_table_that_is_not_listed_fail_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(draw_states, "PAGE", tmp_path / "states.md")
    assert main(["--check"]) == 1 and "stale" in capsys.readouterr().err
    assert main([]) == 0 and main(["--check"]) == 0
    page = (tmp_path / "states.md").read_text()
    (tmp_path / "states.md").write_text(page.replace("COMMITTED", "KEPT"))
    assert main(["--check"]) == 1
    monkeypatch.setattr(draw_states, "TABLES", TABLES[:-1])
    capsys.readouterr()
    assert main([]) == 1 and "rollout_states.MEMBER_TABLE" in capsys.readouterr().err


@machines
def test_every_state_has_a_row_and_can_be_reached_from_the_start(machine: Machine) -> None:
    table = machine.table()
    states = type(start_of(machine))
    assert set(table) == set(states) == reachable(machine, start_of(machine))


@machines
def test_a_state_without_a_way_on_is_a_known_end_and_from_everywhere_an_end_can_be_reached(machine: Machine) -> None:
    table = machine.table()
    assert set(machine.rests) <= {state.name for state in table}
    for state, row in table.items():
        assert row or state.name in machine.rests, f"{state.name} is a trap"
        assert {each.name for each in reachable(machine, state)} & set(machine.rests), f"no end after {state.name}"


@machines
def test_no_event_is_dead_and_no_two_of_a_name(machine: Machine) -> None:
    used = {event for row in machine.table().values() for event in row}
    events = type(next(iter(used)))
    assert used == set(events)
    assert len({event.value for event in events}) == len(events)


@machines
def test_an_illegal_event_raises_and_changes_nothing(machine: Machine) -> None:
    table = machine.table()
    step = getattr(importlib.import_module(machine.module), machine.step)
    events = type(next(event for row in table.values() for event in row))
    before = {state: dict(row) for state, row in table.items()}
    for state in table:
        for event in events:
            if event in table[state]:
                assert step(state, event) is table[state][event]
            else:
                with pytest.raises(IllegalTransition, match=str(event.value)):
                    step(state, event)
    assert {state: dict(row) for state, row in table.items()} == before


@machines
def test_the_diagram_has_an_arrow_for_every_row_and_no_other(machine: Machine) -> None:
    drawn = set()
    for line in diagram(machine).splitlines()[1:]:
        ends, _, events = line.strip().partition(": ")
        source, target = ends.split(" --> ")
        drawn |= {(source, event, target) for event in events.split(", ")} if "[*]" not in (source, target) else set()
    rows = machine.table().items()
    assert drawn == {(state.name, event.value, after.name) for state, row in rows for event, after in row.items()}
