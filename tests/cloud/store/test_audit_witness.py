"""What the chain alone cannot tell: entries cut off at the end, against the head that somebody kept."""

from __future__ import annotations

import csv
import io

import pytest

from cloud.store.audit import AuditLog, write_audit
from cloud.store.audit_csv import audit_csv
from tests.fakes.cloud_tables import T0, Tables


def _fill(tables: Tables, count: int = 5) -> None:
    for number in range(count):
        tables.audit.append(T0 + number, "anna" if number % 2 else "plumbline", f"act{number % 3}", f"Detail {number}")


def test_a_walk_gives_the_head_and_finds_it_again_later(tables: Tables) -> None:
    _fill(tables)
    kept = tables.audit.check()
    assert kept.intact and (kept.entries, kept.head_id) == (5, 5) and kept.in_words() == "chain intact: 5 entries"
    _fill(tables, 2)
    later = tables.audit.check(kept.head)
    assert later.intact and (later.entries, later.witness_id) == (7, 5) and later.head != kept.head


@pytest.mark.parametrize("written_since", [0, 3])
def test_entries_cut_off_at_the_end_show_against_a_head_alone(tables: Tables, written_since: int) -> None:
    _fill(tables)
    kept = tables.audit.check().head
    with tables.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM audit WHERE id > 3")
    _fill(tables, written_since)
    assert tables.audit.check().intact
    found = tables.audit.check(kept)
    assert found.cut_off and not found.intact and found.first_broken is None and found.in_words().startswith("cut off")


def test_an_empty_log_is_intact_and_cut_off_where_a_head_was_kept(tables: Tables) -> None:
    assert tables.audit.check().intact and tables.audit.check("0" * 64).cut_off


def test_a_chain_longer_than_one_read_is_walked_to_its_end(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.store.audit._WALK", 4)
    _fill(tables, 9)
    assert tables.audit.check().entries == 9
    with tables.database.write() as connection:
        connection.exec_driver_sql("UPDATE audit SET detail = 'x' WHERE id = 9")
    found = tables.audit.check()
    assert found.first_broken == 9 and found.head_id == 8


def test_entries_are_found_by_who_act_and_words_and_read_a_page_at_a_time(tables: Tables) -> None:
    _fill(tables)
    log = tables.audit
    assert [e.id for e in log.entries(actor="ANN")] == [2, 4]
    assert [e.id for e in log.entries(act="act1")] == [2, 5] and log.entries(act="act") == []
    assert [e.id for e in log.entries(text="detail 3")] == [4] and log.entries(text="%") == []
    assert [e.id for e in log.entries(2, before=4)] == [2, 3]
    assert log.acts() == ["act0", "act1", "act2"]


def test_the_csv_holds_every_entry_once_newest_first(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.store.audit_csv._PAGE", 2)
    _fill(tables)
    tables.audit.append(T0, "=HYPERLINK(1)", "label", 'a "quoted", detail\nof two lines;=1+1')
    rows = list(csv.reader(io.StringIO("".join(audit_csv(tables.audit)))))
    assert rows[0] == ["id", "at", "actor", "act", "detail", "hash"]
    assert [row[0] for row in rows[1:]] == ["6", "5", "4", "3", "2", "1"]
    assert rows[1][2] == "'=HYPERLINK(1)" and rows[1][4] == 'a "quoted", detail\nof two lines;\'=1+1'
    assert rows[2][1] == "2026-11-20T18:40:04.000+00:00" and len(rows[2][5]) == 64
    assert len(list(csv.reader(io.StringIO("".join(audit_csv(tables.audit, most=3)))))) == 4


def test_an_empty_log_is_a_csv_of_its_header(tables: Tables) -> None:
    assert "".join(audit_csv(AuditLog(tables.database))) == "id,at,actor,act,detail,hash\r\n"


def test_a_chain_that_is_written_anew_from_an_entry_on_shows_against_a_head_alone(tables: Tables) -> None:
    _fill(tables)
    kept, rows = tables.audit.check().head, tables.audit.entries()
    with tables.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM audit WHERE id > 2")
        for row in rows[2:]:
            write_audit(connection, row.at, row.actor, row.act, "forged" if row.id == 3 else row.detail)
    assert tables.audit.check().intact and len(tables.audit.entries()) == len(rows)
    found = tables.audit.check(kept)
    assert not found.intact and found.in_words().startswith("cut off, or written anew: ")
