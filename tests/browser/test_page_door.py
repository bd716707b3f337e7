"""A real Chromium at the real server's door: sent to sign in, back to what was asked for, and nothing of honest use refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.cloud_plant import CloudPlant

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudPlant]:
    made = CloudPlant(tmp_path_factory.mktemp("plant"))
    with (made.home / "cloud.toml").open("a") as config:
        config.write("\n[auth]\nopen_on_loopback = false\n")
    made.live_a_little()
    made.start()
    yield made
    made.stop()


@pytest.mark.slow
def test_somebody_is_sent_to_sign_in_and_back_and_whatever_they_do_then_is_taken(
    plant: CloudPlant, open_page: Callable[..., Page]
) -> None:
    token = (plant.home / "secrets" / "operator.token").read_text().strip()
    page = open_page(f"{plant.url}/fleet?text=line")
    expect(page.get_by_label("Your token")).to_be_focused()
    page.keyboard.type(token)
    page.keyboard.press("Enter")
    expect(page.get_by_text("operator (admin)")).to_be_visible()
    assert page.url == f"{plant.url}/fleet?text=line"
    field = page.get_by_label("Name or site")
    field.fill("")
    field.press_sequentially("x" * 100, delay=33)  # a key held down
    page.get_by_role("button", name="Colours: as the system").click()
    for path in ("/", "/fleet", "/drift", "/review", "/models", "/rollouts", "/audit", "/runbooks", "/station/line2"):
        page.goto(plant.url + path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.wait_for_function("window.did_handshake === true")
        page.wait_for_timeout(1500)
    metrics = httpx.get(f"{plant.url}/metrics", headers={"Authorization": f"Bearer {token}"}, timeout=60).text
    refused = {
        sample.labels["why"]: sample.value
        for family in text_string_to_metric_families(metrics)
        if family.name == "plumbline_cloud_page_messages_refused"
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    assert refused == {"fast": 0, "large": 0, "log": 0, "malformed": 0, "unknown": 0}
    assert "Traceback" not in plant.log.read_text()
