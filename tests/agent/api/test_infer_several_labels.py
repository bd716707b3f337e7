"""POST /v1/infer over HTTP with a model whose labels do not exclude each other: every defect that it sees is answered."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from agent.api.judge_process import JudgeProcess
from agent.api.provenance import Manifests
from agent.api.routes import Routes
from agent.api.server import HttpRules, HttpServer
from agent.clock import SystemClock
from agent.ports.slots import InstalledBundle
from agent.slots.unpacked import open_archive
from tests.agent.commands.test_infer_several_defects import folder as folder  # the fixture
from tests.fakes.agent_line import ListLog
from tests.tiny_bundle import write_bundle


class _View:
    def __init__(self, bundle: InstalledBundle) -> None:
        self._bundle = bundle

    def in_charge(self) -> InstalledBundle:
        return self._bundle

    def why_void(self) -> str:
        return ""


def answers(bundle: InstalledBundle, folder: Path, *images: bytes) -> list[dict[str, Any]]:
    """Return what a real server with a real judging process answers to each image."""
    clock = SystemClock()
    judge = JudgeProcess(clock, within_s=120.0)
    routes = Routes(_View(bundle), None, Manifests(folder, clock), judge, lambda: False)  # type: ignore[arg-type]
    server = HttpServer("127.0.0.1", 0, routes.answer, HttpRules(answer_within_s=120.0), clock, ListLog())
    server.start()
    try:
        url = f"http://127.0.0.1:{server.port}/v1/infer"
        return [httpx.post(url, content=each, timeout=120).raise_for_status().json() for each in images]
    finally:
        server.stop(5.0)
        judge.close()


def test_every_defect_that_the_model_sees_is_answered_likeliest_first(folder: Path) -> None:
    bundle = open_archive(folder / "several.plb", folder / "several")
    dark, bright = answers(bundle, folder, *((folder / f"{name}.png").read_bytes() for name in ("dark", "bright")))
    assert (dark["verdict"], dark["label"]) == ("REJECT", "scratch") and dark["confidence"] == pytest.approx(0.91)
    assert dark["also"] == [{"label": "dent", "confidence": 0.74}]
    assert bright["verdict"] == "PASS" and bright["also"] == []


def test_a_model_whose_labels_exclude_each_other_answers_as_before(tmp_path: Path) -> None:
    body = io.BytesIO()
    Image.new("L", (8, 8), 230).save(body, "PNG")
    (answer,) = answers(open_archive(write_bundle(tmp_path / "b.plb"), tmp_path / "b"), tmp_path, body.getvalue())
    assert answer["also"] == [] and set(answer) == {
        "verdict", "label", "confidence", "ms", "cause", "error", "also", "bundle", "model", "simulated_model", "recorded",
    }  # fmt: skip
