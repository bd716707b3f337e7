"""`[policy] images_leave = "never"` in agent.toml reaches the windows of a station process: a sketch of three frames stays (P8)."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from agent.open_window import TOO_FEW
from contract.codec import decode_summary
from tests.fakes.agent_line import image
from tests.tiny_bundle import write_bundle


@pytest.mark.parametrize(("policy", "leaves"), [("never", False), ("requested", True)])
def test_a_sketch_of_three_frames_leaves_only_where_images_may(tmp_path: Path, policy: str, leaves: bool) -> None:
    write_bundle(tmp_path / "tiny.plb")
    (tmp_path / "parts").mkdir()
    for n, level in enumerate((230, 230, 20)):
        Image.fromarray(image(level, n)).save(tmp_path / f"parts/{n}.png")
    config = tmp_path / "agent.toml"
    config.write_text(
        'station = "s1"\nhome = "state"\n[broker]\nhost = ""\n[source]\nkind = "folder"\nfolder = "parts"\nloop = false\nfps = 0\n'
        '[bundle]\npath = "tiny.plb"\n[line]\ndeadline_ms = 60000.0\n[enrol]\nframes = 2\n[api]\nport = 0\n'
        f'[policy]\nimages_leave = "{policy}"\n'
    )
    command = (sys.executable, "-m", "agent", "run", "--config", str(config))
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    with closing(sqlite3.connect(tmp_path / "state/agent.sqlite")) as connection:
        payloads = [payload for (payload,) in connection.execute("SELECT payload FROM outbox")]
    told = [decode_summary(payload) for payload in payloads]
    assert sum(each.accounting.captured for each in told) == 3
    assert any(each.window is not None for each in told) == leaves
    assert any(TOO_FEW in each.note for each in told) != leaves
