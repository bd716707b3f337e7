"""`./scripts/bench line`: its books find what does not add up, and its client sees a whole station's every answer."""

from __future__ import annotations

from scripts.benches.budget import TARGETS, all_held
from scripts.benches.line import Ran, books, table
from scripts.benches.line_plc import Drive, Heard, ModbusPlc, drive
from tests.fakes.modbus_line import Line


def ran(*heard: Heard, sent: int = 3, **counts: int) -> Ran:
    told: dict[int, list[Heard]] = {}
    for each in heard:
        told.setdefault(each.ask, []).append(each)
    named = {key.replace("_", ": ", 1): n for key, n in counts.items()}
    station = {"triggers": sent, "answered": 2, "lost: timeout": 1, "late": 0, **named}
    return Ran(Drive(dict.fromkeys(range(1, sent + 1), 0.0), told), station, {"part-1": "PASS", "part-2": "REVIEW"})


SOUND = (Heard(1, "PASS", "", 0.1), Heard(2, "REVIEW", "", 0.1), Heard(3, "", "timeout", 0.1))


def wrong(run: Ran) -> set[str]:
    return {key.split(".")[-1] for key, n in books("line.modbus", run).items() if key in TARGETS and n}


def test_books_that_close_hold_every_target() -> None:
    figures = books("line.modbus", ran(*SOUND))
    assert all_held(figures) and "NOT HELD" not in table(figures)
    assert (figures["line.modbus.answered"], figures["line.modbus.lost_timeout"]) == (2, 1)


def test_a_part_without_an_end_is_found() -> None:
    assert wrong(ran(*SOUND[:2])) == {"unheard"}
    assert wrong(ran(*SOUND, lost_timeout=0)) == {"unaccounted", "unheard"}


def test_two_answers_for_one_part_are_found() -> None:
    assert wrong(ran(*SOUND, SOUND[0])) == {"unheard"}


def test_another_verdict_than_the_record_has_is_found() -> None:
    assert wrong(ran(Heard(1, "PASS", "", 0.1), Heard(2, "PASS", "", 0.1), SOUND[2])) == {"differs"}


def test_the_client_hears_an_end_for_every_part_of_an_overrun() -> None:
    line = Line(timeout_s=0.1, waiting=2)
    plc = ModbusPlc(line.port)
    plc.wait_ready()
    done = drive(plc, 150, 400.0)
    plc.close()
    line.close()
    counts = line.desk.counts()
    assert done.outcomes() == {"timeout": counts.lost["timeout"], "full": counts.refused["full"]}
    assert sum(done.outcomes().values()) == counts.triggers == 150
