"""The door for strangers has a limit: too many wrong tokens or requests are told when to come again, and a device does."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from agent.__main__ import main
from agent.commands import enrol as enrol_command
from agent.uplink.device_key import make_device_key
from cloud.api.limits import RequestLimits
from tests.agent.commands.test_enrol_command import Cloud, Doors
from tests.secure_plant import SecurePlant

SALT = b"s" * 16


class Clock:
    def __init__(self) -> None:
        self.at, self.slept = 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cloud, Doors]]:
    plant = SecurePlant(tmp_path_factory.mktemp("limits"))
    doors = Doors(plant)
    api = doors.settings.api
    yield (
        Cloud(plant, api.url(), f"https://127.0.0.1:{api.device_port}", plant.provision.authority().fingerprint),
        doors,
    )
    doors.close()


@pytest.fixture
def clock(opened: tuple[Cloud, Doors], monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock of limits that allow an address six requests and three wrong tokens a minute."""
    clock, (_, doors) = Clock(), opened
    limits = RequestLimits(6, 3, monotonic=lambda: clock.at, salt=SALT)
    for name, value in vars(limits).items():
        monkeypatch.setattr(doors.limits, name, value)
    monkeypatch.setattr(enrol_command, "time", SimpleNamespace(sleep=clock.sleep))
    return clock


def client_of(cloud: Cloud) -> httpx.Client:
    trust = ssl.create_default_context(cafile=str(cloud.plant.provision.trust))
    return httpx.Client(verify=trust, base_url=cloud.url, timeout=60)


def test_wrong_tokens_are_counted_and_then_refused_before_they_are_looked_up(
    opened: tuple[Cloud, Doors], clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud, _ = opened
    token = cloud.token("known", capsys)
    csr = make_device_key(tmp_path).request
    with client_of(cloud) as client:
        assert client.post("/v1/enrol", json={"token": token, "csr": csr}).status_code == 200
        for number in range(3):
            assert client.post("/v1/enrol", json={"token": f"wrong {number}", "csr": csr}).status_code == 403
        refused = client.post("/v1/enrol", json={"token": "wrong too", "csr": csr})
        assert refused.status_code == 429 and refused.headers["Retry-After"] == "20"
        assert "too many wrong tokens" in refused.json()["detail"]
        # Whose token was good a while ago is not shut out by who tries beside it.
        assert client.post("/v1/enrol", json={"token": token, "csr": csr}).status_code == 200


@pytest.mark.parametrize("content", [b"no JSON", b"x" * 20_000])
def test_an_address_that_asks_too_often_is_refused(opened: tuple[Cloud, Doors], clock: Clock, content: bytes) -> None:
    with client_of(opened[0]) as client:
        codes = [client.post("/v1/enrol", content=content).status_code for _ in range(6)]
        assert codes == [422 if content == b"no JSON" else 413] * 6
        answer = client.post("/v1/enrol", content=content)
        assert answer.status_code == 429 and answer.headers["Retry-After"] == "10"
        clock.at += 10.0
        assert client.post("/v1/enrol", content=content).status_code == codes[0]


def test_a_right_token_enrols_whatever_strangers_try_from_the_same_address(
    opened: tuple[Cloud, Doors],
    clock: Clock,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cloud, doors = opened
    monkeypatch.setattr(doors.tokens, "_every_s", 0.3)  # what is in memory is older than the token, as a rule
    csr = make_device_key(tmp_path).request
    with client_of(cloud) as client:
        tries = [client.post("/v1/enrol", json={"token": f"wrong {n}", "csr": csr}).status_code for n in range(8)]
        assert tries == [403] * 3 + [429] * 5, "neither wrong tokens nor requests are let through any more"
        assert client.post("/v1/enrol", content=b"no JSON").status_code == 429
        # Made meanwhile, by another process, and never seen from there.
        assert cloud.enrol(cloud.token("newcomer", capsys), tmp_path / "newcomer") == 0
        assert not clock.slept
        assert client.post("/v1/enrol", json={"token": "wrong still", "csr": csr}).status_code == 429


def test_the_uses_of_a_right_token_are_counted_by_themselves(
    opened: tuple[Cloud, Doors], clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud, _ = opened
    used, other = cloud.token("busy", capsys), cloud.token("calm", capsys)
    with client_of(cloud) as client:
        codes = [client.post("/v1/enrol", json={"token": used, "csr": "none"}).status_code for _ in range(4)]
        assert codes == [422, 422, 422, 429]
        assert client.post("/v1/enrol", json={"token": other, "csr": "none"}).status_code == 422
        for number in range(3):
            assert client.post("/v1/enrol", json={"token": f"wrong {number}", "csr": "none"}).status_code == 422


def test_the_command_comes_again_when_it_is_told_to_and_enrols(
    opened: tuple[Cloud, Doors], clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud, _ = opened
    token = cloud.token("patient", capsys)
    with client_of(cloud) as client:
        for _ in range(3):
            client.post("/v1/enrol", json={"token": token, "csr": "none"})
    assert cloud.enrol(token, tmp_path / "patient") == 0
    assert clock.slept == [20.0]
    said = capsys.readouterr()
    assert "this token was used too often" in said.err and "asking again in 20 s" in said.err
    assert (tmp_path / "patient" / "agent.toml").is_file()


def test_a_plant_that_says_not_now_for_longer_than_wait_is_given_up(
    opened: tuple[Cloud, Doors], clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud, _ = opened
    with client_of(cloud) as client:
        for _ in range(6):
            client.post("/v1/enrol", content=b"no JSON")
    words = ["--url", cloud.url, "--token=t", "--ca-sha256", cloud.pin, "--out", str(tmp_path / "out")]
    assert main(["enrol", *words, "--wait", "9"]) == 1
    assert not clock.slept and "come again in 10 s" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["enrol", *words, "--wait", "-1"])
