"""kill -9 while frames are recorded, asked about and told of: every opinion is told once, and what waited goes on waiting."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from functools import reduce
from pathlib import Path

import pytest

from agent.decide.opinions import add_up_opinions
from agent.store.database import FILE_NAME
from contract.codec import decode_summary
from contract.messages import OpinionsNote
from tests.fakes.opinion_cloud import OpinionCloud, opinion_cloud

CHILD, ROOT = Path(__file__).with_name("opinions_child.py"), Path(__file__).parents[2]


def start(folder: Path, cloud: OpinionCloud) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen((sys.executable, str(CHILD), str(folder), cloud.url), env=environment)


@pytest.mark.slow
def test_5_kills_tell_of_every_opinion_once(tmp_path: Path) -> None:
    draw = random.Random(20261129)
    with opinion_cloud() as cloud:
        for _ in range(5):
            before = len(cloud.requests)
            child = start(tmp_path, cloud)
            until = time.monotonic() + 60.0
            while len(cloud.requests) < before + 10:
                assert child.poll() is None and time.monotonic() < until
                time.sleep(0.002)
            time.sleep(draw.uniform(0.0, 0.5))
            child.send_signal(signal.SIGKILL)
            child.wait()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    summaries = [decode_summary(row[0]) for row in connection.execute("SELECT payload FROM outbox ORDER BY id")]
    rows = connection.execute("SELECT state, told, gone, agreed FROM second_opinions").fetchall()
    unsure = connection.execute("SELECT COUNT(*) FROM results WHERE cause = 'unsure'").fetchone()[0]
    connection.close()
    told = reduce(add_up_opinions, (summary.opinions for summary in summaries), None) or OpinionsNote()
    known = Counter(told_of for _, told_of, _, _ in rows)
    assert told.queued == known[1] + known[2]
    assert told.answered == told.rejected == told.agreed == sum(s == "answered" and t == 2 for s, t, _, _ in rows)
    assert told.answered >= 25
    assert sum(told.gone.values()) == sum(s == "gone" and t == 2 for s, t, _, _ in rows)
    assert len(rows) == unsure, "a frame whose image was stored waits in the same commit"
    answered = sum(state == "answered" for state, _, _, _ in rows)
    # Asked and not yet noted when the blow came: asked again, at most one a kill.
    assert answered <= len(cloud.requests)
