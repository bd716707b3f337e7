"""`[windows] sketch = false`: verdicts, counts and summaries go on; what is not watched is said."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from PIL import Image

from contract.codec import decode_summary
from tests.fakes.agent_line import image
from tests.tiny_bundle import write_bundle


def test_a_station_without_sketches_judges_and_ships_its_counts(tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny.plb")
    (tmp_path / "parts").mkdir()
    for n, level in enumerate((230, 230, 20)):
        Image.fromarray(image(level, n)).save(tmp_path / f"parts/{n}.png")
    config = tmp_path / "agent.toml"
    config.write_text(
        'station = "s1"\nhome = "state"\n[broker]\nhost = ""\n[source]\nkind = "folder"\nfolder = "parts"\nloop = false\nfps = 0\n'
        '[bundle]\npath = "tiny.plb"\n[line]\ndeadline_ms = 60000.0\n[windows]\nsketch = false\n[api]\nport = 0\n'
    )
    command = (sys.executable, "-m", "agent", "run", "--config", str(config))
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    with closing(sqlite3.connect(tmp_path / "state/agent.sqlite")) as connection:
        (payload,) = connection.execute("SELECT payload FROM outbox").fetchone()
    summary = decode_summary(payload)
    assert (summary.accounting.captured, summary.accounting.passed, summary.accounting.rejected) == (3, 2, 1)
    assert summary.window is None
    assert "windows.sketch is false" in summary.note
