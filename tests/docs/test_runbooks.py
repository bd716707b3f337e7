"""docs/RUNBOOKS.md: every anchor that leads there exists, every command in it is one, and what it says to do mends things."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from nicegui.testing.general import nicegui_reset_globals
from paho.mqtt.enums import CallbackAPIVersion

from agent.__main__ import main as agent_main
from cloud import fleet_facts, needs, notices_wiring
from cloud.__main__ import main as cloud_main
from cloud.notice_rules import NoticeRules
from cloud.settings import load_settings
from cloud.wiring import Aggregator
from contract.codec import encode_control, encode_summary
from contract.messages import Accounting, Header, HealthNote, StationState, Summary
from contract.topics import Channel, topic
from tests.agent.test_station_update import Plant
from tests.fakes.cloud_plant import CloudPlant
from tests.fakes.hook import Hook
from tests.fixtures_broker import Broker, start_broker
from tests.station_process import STATION, Collector

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "docs" / "RUNBOOKS.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
REAL_PARSE = argparse.ArgumentParser.parse_args


def anchors_in(*files: Path) -> set[str]:
    found = set[str]()
    for file in files:
        found |= set(re.findall(r"runbooks \}\}#([a-z-]+)", file.read_text("utf-8")))
    return found


def anchors_of_needs() -> set[str]:
    """Return the anchors in the modules that make needs: the words in quotes that are sections, and what looks like one."""
    code = "".join((ROOT / "cloud" / name).read_text("utf-8") for name in ("needs.py", "needs_of_stations.py"))
    found = re.findall(r'Need\([^\n]*?"([a-z]+(?:-[a-z]+)+)"[,)]', code)
    found += re.findall(r'runbook = (?:[A-Za-z"_ ]+, )?"([a-z]+(?:-[a-z]+)+)"', code)
    return set(found) | set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', code))


def test_every_anchor_that_needs_and_rules_name_is_a_runbook() -> None:
    rules = anchors_in(*(ROOT / "deploy" / "observability" / "rules").glob("*.yml"))
    named = anchors_of_needs()
    assert len(rules) > 12 and len(named) > 12
    assert rules | named <= SECTIONS.keys(), (rules | named) - SECTIONS.keys()
    assert SECTIONS.keys() <= rules | named, "a runbook that nothing leads to"


def test_links_within_the_runbooks_lead_somewhere() -> None:
    assert set(re.findall(r"\]\(#([a-z-]+)\)", TEXT)) <= SECTIONS.keys()


@pytest.mark.parametrize("section", sorted(SECTIONS))
def test_each_says_what_is_seen_where_to_look_what_to_do_and_who_to_call(section: str) -> None:
    for part in ("Seen", "First look", "Mend", "Mended", "Call"):
        assert re.search(rf"^\*\*{part}[.,]", SECTIONS[section], re.MULTILINE), part


def commands() -> list[str]:
    blocks = "\n".join(re.findall(r"^```sh.*\n([^`]*?)^```", TEXT, re.MULTILINE))
    inline = [" ".join(each.split()) for each in re.findall(r"`(plumbline-(?:cloud|agent) [^`]+)`", TEXT)]
    lines = (line.partition("  #")[0].strip() for line in (*blocks.splitlines(), *inline))
    return sorted({line for line in lines if line.startswith("plumbline-")})


@pytest.mark.parametrize("line", commands())
def test_every_command_is_one(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if line.endswith("--help"):
        return
    parsed = []

    def parse(self: argparse.ArgumentParser, given: Any = None, namespace: Any = None) -> argparse.Namespace:
        parsed.append(REAL_PARSE(self, given, namespace))
        return argparse.Namespace(run=lambda _: 0)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    program, *words = shlex.split(re.sub(r"\b(N|ID)\b", "7", line).replace("ROLE", "targets"))
    assert (cloud_main if program == "plumbline-cloud" else agent_main)(words) == 0 and parsed


def run(main: Callable[[list[str]], int], *words: str) -> tuple[int, str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main(list(words))
    return code, out.getvalue()


def wait_for(what: Callable[[], Any], within_s: float = 60.0) -> Any:
    until = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)
    return found


class Line:
    """A station's voice on a real broker."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.name, self.seq = name, 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()

    def say(self, channel: Channel, payload: bytes) -> None:
        self._client.publish(topic(self.name, channel), payload, qos=1).wait_for_publish(30)

    def born(self) -> None:
        self.say(Channel.STATE, encode_control(StationState(self.name, "b1", True, time.time(), "1")))

    def window(self, ahead_s: float = 0.0, disk_free_mib: int = 50_000) -> None:
        self.seq += 1
        at = time.time() + ahead_s
        header = Header(self.name, "b1", self.seq, at - 60.0, at, float(self.seq), True, "d" * 64)
        health = HealthNote(disk_free_mib=disk_free_mib)
        self.say(Channel.SUMMARY, encode_summary(Summary(header, Accounting(captured=1, passed=1), health=health)))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Desk:
    """A real server with a real broker and somebody who is told: letters are counted, and what is over is told, within seconds."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.broker, self.hook, self.plant = broker, Hook(), CloudPlant(folder)
        self.config = self.plant.home / "cloud.toml"
        text = self.config.read_text().split("[broker]")[0] + f"[broker]\nport = {broker.port}\n"
        self.config.write_text(text + f'[alerts.webhooks]\nchat = "{self.hook.url}"\n')
        with contextlib.redirect_stdout(io.StringIO()):
            for name in ("line1", "line2"):
                assert (
                    cloud_main(["station", "add", name, "--config", str(self.config), "--out", str(folder / name)]) == 0
                )
        self.aggregator = Aggregator(load_settings(self.config))
        self.aggregator.start()

    def told(self, event: str, kind: str) -> list[dict[str, Any]]:
        every = [part for m in self.hook.messages() for part in (m["parts"] or [m])]
        return [each for each in every if (each["event"], each["kind"]) == (event, kind)]

    def command(self, *words: str, code: int = 0) -> str:
        found, said = run(cloud_main, *words, "--config", str(self.config))
        assert found == code, said
        return said

    def close(self) -> None:
        self.aggregator.stop()
        self.hook.stop()
        # NiceGUI has one application a process: the next file's pages would not come to stand beside these.
        with nicegui_reset_globals():
            pass


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(needs, "DEAF_S", 1.0)
    monkeypatch.setattr(fleet_facts, "_COUNTS_S", 1.0)
    monkeypatch.setattr(notices_wiring, "NoticeRules", partial(NoticeRules, settle_s=3.0))
    broker = start_broker(tmp_path / "broker")
    made = Desk(tmp_path, broker)
    yield made
    made.close()
    broker.kill()


@pytest.mark.slow
def test_broker_down_is_told_and_over_when_it_is_back(desk: Desk) -> None:
    wait_for(lambda: desk.aggregator._link.connections() > 0)
    desk.broker.kill()
    (told,) = wait_for(lambda: desk.told("opened", "broker down"))
    assert told["severity"] == "page" and told["runbook"] == f"{desk.plant.url}/runbooks#broker-down"
    assert "has not been reached" in desk.command("alerts", "list")
    desk.broker.start()
    wait_for(lambda: desk.told("resolved", "broker down"))
    assert "nothing needs to be told" in desk.command("alerts", "list")


@pytest.mark.slow
def test_clock_wrong_a_full_station_disk_and_dead_letters_come_and_go(desk: Desk) -> None:
    wait_for(lambda: desk.aggregator._link.connections() > 0)
    line = Line(desk.broker, "line1")
    line.born()
    line.window(ahead_s=10_000.0, disk_free_mib=100)
    line.say(Channel.SUMMARY, b"poison")
    (clock,) = wait_for(lambda: desk.told("opened", "clock wrong"))
    assert re.fullmatch(r"The clock of line1 is 3 h ahead\.", clock["what"]) and clock["link"].endswith(
        "/station/line1"
    )
    assert wait_for(lambda: desk.told("opened", "station disk full"))[0]["severity"] == "page"
    wait_for(lambda: desk.told("opened", "dead letters"), 60.0)
    assert "1 message could not be stored" in desk.command("alerts", "list")
    assert "up/sum" in desk.command("dead", "list")
    desk.command("dead", "drop", "--all")
    # Somebody started its time service, and made room.
    line.window()
    for kind in ("clock wrong", "station disk full", "dead letters"):
        wait_for(partial(desk.told, "resolved", kind), 60.0)
    line.close()


@pytest.mark.slow
def test_disk_full_at_the_server_is_a_page_until_there_is_room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as full:
        usage = shutil.disk_usage(desk.plant.home)._replace(total=100 << 30, free=100 << 20)
        full.setattr(fleet_facts.shutil, "disk_usage", lambda _path: usage)
        (told,) = wait_for(lambda: desk.told("opened", "server disk full"))
        assert told["severity"] == "page" and "0.1 GiB" in told["what"]
    roomy = shutil.disk_usage(desk.plant.home)._replace(total=100 << 30, free=60 << 30)
    monkeypatch.setattr(fleet_facts.shutil, "disk_usage", lambda _path: roomy)
    wait_for(lambda: desk.told("resolved", "server disk full"))


def test_notices_undelivered_is_seen_by_the_test_message_and_mended_with_the_address(desk: Desk) -> None:
    assert "chat: taken" in desk.command("alerts", "test")
    assert desk.hook.messages()[-1]["event"] == "test"
    desk.hook.answers = [404]
    said = desk.command("alerts", "test", "chat", code=3)
    assert "not taken" in said and "answered 404" in said and "SECRET" not in said
    desk.command("alerts", "test", "nobody", code=1)


def test_first_looks_of_the_cloud_answer_on_a_plant_with_a_past(tmp_path: Path) -> None:
    plant = CloudPlant(tmp_path)
    plant.live_a_little()
    lines = [line for line in commands() if line.startswith("plumbline-cloud") and line.endswith("--config cloud.toml")]
    looks = [
        line
        for line in lines
        if not re.search(r"provision|serve|ingest|alerts test|replay|drop|revoke|rotate|renew", line)
    ]
    assert len(looks) >= 6, looks
    for line in looks:
        words = shlex.split(line.replace("cloud.toml", str(plant.home / "cloud.toml")))[1:]
        # `drift report` asks the server, which does not run here: that it says so is all there is to see.
        code, said = run(cloud_main, *words)
        assert code == 0 or ("drift" in words or "rollout" in words), (line, said)


def test_key_loss_a_stolen_station_is_revoked_and_lost_keys_come_back_from_the_stick(tmp_path: Path) -> None:
    home, stick = tmp_path / "plant", tmp_path / "stick"
    assert run(cloud_main, "init", "--home", str(home), "--secure", "--broker-name", "127.0.0.1")[0] == 0
    config = str(home / "cloud.toml")
    code, said = run(cloud_main, "provision", "line9", "--out", str(tmp_path / "line9"), "--config", config)
    assert code == 0, said
    for part in ("keys", "provision"):
        shutil.copytree(home / part, stick / part)
        shutil.rmtree(home / part)
    code, said = run(cloud_main, "keys", "status", "--config", config)
    assert code == 1 and said.startswith("error: "), "it says what is missing"
    for part in ("keys", "provision"):
        shutil.copytree(stick / part, home / part)
    assert run(cloud_main, "keys", "status", "--config", config)[0] == 0
    code, said = run(cloud_main, "provision", "revoke", "line9", "--reason", "stolen", "--config", config)
    assert code == 0, said
    code, said = run(cloud_main, "provision", "status", "--json", "--config", config)
    mine = [row for row in json.loads(said[said.index("[") :]) if row["subject"] == "line9"]
    assert mine and all("revoked" in row["state"] for row in mine), mine


@pytest.mark.slow
def test_rollback_by_hand_and_first_looks_at_a_station_that_runs(tmp_path: Path) -> None:
    broker = start_broker(tmp_path / "broker")
    plant, collector = Plant(tmp_path, broker.port), Collector(broker.port)
    first, second = plant.release("v1", gain=20.0), plant.release("v2", gain=21.0)
    plant.station.start()

    def runs(digest: str) -> Callable[[], bool]:
        return lambda: any(r.bundle == digest and r.update_state == "COMMITTED" for r in collector.reported[-3:])

    try:
        for released, deployment in ((first, "r1-s1"), (second, "r2-s1")):
            plant.order(collector, released, deployment)
            wait_for(runs(released.digest), 90.0)
        config = str(plant.station.config)
        for look in ("status", "doctor"):
            code, said = run(agent_main, look, "--config", config)
            assert code in (0, 1, 2, 3) and said, look
        code, said = run(agent_main, "update", "status", "--config", config)
        assert code == 0 and second.digest[:8] in said, said
        code, said = run(agent_main, "update", "rollback", "--config", config)
        assert code == 0, said
        wait_for(lambda: collector.reported[-1].bundle == first.digest, 60.0)
        code, said = run(agent_main, "status", "--json", "--config", config)
        assert json.loads(said)["bundle"] == first.digest and json.loads(said)["station"] == STATION
    finally:
        plant.station.end(signal.SIGTERM)
        plant.station.log.close()
        collector.close()
        plant.server.shutdown()
        plant.server.server_close()
        broker.kill()
