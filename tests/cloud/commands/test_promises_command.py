"""`promises` and `costs`, asked of the real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloud.__main__ import main
from tests.fakes.cloud_plant import CloudPlant


@pytest.mark.slow
def test_the_running_server_tells_what_is_promised_and_what_it_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant = CloudPlant(tmp_path)
    plant.live_a_little()
    plant.start()
    config = ["--config", str(plant.home / "cloud.toml")]
    try:
        assert main(["promises", *config, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        by_name = {each["promise"]: each for each in told["budgets"]}
        assert by_name["availability"]["events"] == 80 * 32 and by_name["availability"]["share"] == 1.0
        assert main(["promises", *config]) == 0
        shown = capsys.readouterr().out
        assert "100.00 % of 2,560 frames captured were decided in 28 days" in shown and "releases wait" not in shown
        assert main(["costs", "--by", "day", *config, "--json"]) == 0
        assert {row["summary_bytes"] > 0 for row in json.loads(capsys.readouterr().out)["rows"]} == {True}
        assert main(["costs", *config]) == 0
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
            "station",
            "line1",
            "line2",
            "all",
        ]
    finally:
        assert plant.stop() in (0, 130)  # 0 where the shell that started us ignores SIGINT


def test_without_a_server_the_commands_say_how_to_start_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant = CloudPlant(tmp_path)
    for command in ("promises", "costs"):
        assert main([command, "--config", str(plant.home / "cloud.toml")]) == 1
        assert "plumbline-cloud serve" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("promises", "availability = 1.0"), ("promises", "in_time = 0.0"), ("promises", "days = 500"),
        ("promises", "days = 0"), ("promises", "fresh_s = -1.0"), ("fallback", "max_batch = 0"),
        ("fallback", "max_wait_ms = -1.0"), ("fallback", "deadline_ms = 0.0"), ("fallback", "max_waiting_mib = 1.0"),
        ("fallback", "workers = -1"),
    ],
)  # fmt: skip
def test_promises_and_limits_that_make_no_sense_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str, key: str
) -> None:
    plant = CloudPlant(tmp_path)
    config = plant.home / "cloud.toml"
    config.write_text(config.read_text() + f"\n[{table}]\n{key}\n")
    assert main(["promises", "--config", str(config)]) == 1
    assert f"{table}.{key.split(' ')[0]} = " in capsys.readouterr().err
