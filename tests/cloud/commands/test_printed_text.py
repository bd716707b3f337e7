"""What is printed and logged is text: no name or reason moves the cursor, hides a line or forges one."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest

from cloud.__main__ import main
from cloud.commands.output import TextFormatter, print_table
from tests.fakes.cloud_tables import T0, open_tables

HIDES = "lunch\x1b[1A\x1b[2K\r\x9b2K"


def test_a_table_has_a_line_a_row_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("who", "why"), [("anna", HIDES), ("bert", "a\nbert  b\x00\u202e"), ("Żaneta 李雷", "täglich")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all(line.isprintable() for line in lines) and "Żaneta 李雷" in lines[3]


def test_an_act_cannot_hide_the_one_before_it_from_who_lists_the_audit_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cloud.toml").write_text("")
    tables = open_tables(tmp_path / "cloud.db")
    tables.audit.append(T0, "mallory", "abort", HIDES)
    tables.database.close()
    assert main(["audit", "list", "--config", str(tmp_path / "cloud.toml")]) == 0
    told = capsys.readouterr().out
    assert "lunch" in told and all(line.isprintable() for line in told.splitlines())


def test_a_message_is_a_line_of_the_log_and_a_traceback_obeys_nothing() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter())
    log = logging.Logger("nicegui")
    log.addHandler(handler)
    log.error("said %s", f"x\n2026-11-30 08:00:00,000 INFO cloud: all is well {HIDES}")
    (line,) = stream.getvalue().splitlines()
    assert " ERROR nicegui: said x 2026-11-30" in line and line.isprintable()
    try:
        raise ValueError(HIDES)
    except ValueError:
        log.exception("it broke")
    lines = stream.getvalue().splitlines()[1:]
    assert (
        lines[1].startswith("Traceback")
        and "lunch" in lines[-1] + lines[-2]
        and all(each.isprintable() for each in lines)
    )
