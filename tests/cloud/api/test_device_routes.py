"""What stations ask for over HTTP."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Callable
from urllib.parse import urlsplit

from cloud.api.devices import MAX_IMAGE_BYTES
from tests.cloud.api.conftest import Api

S1 = "token of s1"
BUNDLE = {"X-Plumbline-Bundle": "d" * 64}


def _raw(api: Api, path: str) -> int:
    """Ask for a path as it is: httpx would tidy it up."""
    at = urlsplit(api.url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", "x")
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


def test_metadata_and_bundles_are_served_without_a_token_in_parts_too(api: Api) -> None:
    content = bytes(range(256)) * 5000
    (api.tuf / "targets").mkdir()
    (api.tuf / "targets" / "one.plb").write_bytes(content)
    assert api.get("/v1/tuf/targets/one.plb", None).content == content
    part = api.get("/v1/tuf/targets/one.plb", None, headers={"Range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, content[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(content)}"
    rest = api.get("/v1/tuf/targets/one.plb", None, headers={"Range": "bytes=1279000-"})
    assert (rest.status_code, rest.content) == (206, content[1279000:])
    assert api.get("/v1/tuf/targets/one.plb", None, headers={"Range": "bytes=9999999-"}).status_code == 416


OUTSIDE = (
    "../secret.pem", "..%2fsecret.pem", "%2e%2e/secret.pem", "targets/../../secret.pem", "/etc/passwd", "%2fetc/passwd",
    "", ".", "targets", "missing.json", "a%00b", "x" * 5000, "%ff%fe", "....//secret.pem", "..%5csecret.pem",
)  # fmt: skip


def test_nothing_outside_the_update_repository_is_served(api: Api) -> None:
    (api.tuf / "targets").mkdir()
    assert {path: _raw(api, f"/v1/tuf/{path}") for path in OUTSIDE} == dict.fromkeys(OUTSIDE, 404)


def test_a_link_that_leads_out_of_the_repository_is_not_followed(api: Api) -> None:
    (api.tuf / "link.json").symlink_to(api.tuf.parent / "secret.pem")
    assert api.get("/v1/tuf/link.json", None).status_code == 404


def test_a_second_opinion_is_the_full_precision_models(api: Api, png: Callable[..., bytes]) -> None:
    answer = api.post("/v1/fallback/s1", S1, content=png(255), headers=dict(BUNDLE))
    assert answer.json() == {"label": "good", "confidence": 1.0, "good": 1.0, "model": "large fp32"}
    jpeg = api.post("/v1/fallback/s1", S1, content=png(0, kind="JPEG"), headers=dict(BUNDLE))
    assert jpeg.json()["good"] < 0.1
    unknown = api.post("/v1/fallback/s1", S1, content=png(), headers={"X-Plumbline-Bundle": "f" * 64})
    assert unknown.status_code == 404 and "in no release" in unknown.json()["detail"]
    assert api.post("/v1/fallback/s1", S1, content=png()).status_code == 404


def test_what_is_no_image_is_422_in_one_line(api: Api) -> None:
    api.tables.samples.mark_requested(["x1"], 1, 1.0)
    for body in (b"", b"no image", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(20), b"\xff\xd8\xff" + bytes(50)):
        answer = api.post("/v1/fallback/s1", S1, content=body, headers=dict(BUNDLE))
        assert answer.status_code == 422 and "no usable PNG or JPEG" in answer.json()["detail"]
        assert api.post("/v1/samples/s1/x1", S1, content=body).status_code == 422
    assert api.tables.samples.get("x1").image_sha256 is None


def test_a_torn_image_is_422(api: Api, png: Callable[..., bytes]) -> None:
    torn = png(side=300)[:-40]
    assert api.post("/v1/fallback/s1", S1, content=torn, headers=dict(BUNDLE)).status_code == 422


def test_a_body_over_the_limit_is_413_before_it_is_all_there(api: Api) -> None:
    sent = 0

    def endless() -> object:
        nonlocal sent
        while sent < 4 * MAX_IMAGE_BYTES:
            sent += 1 << 20
            yield bytes(1 << 20)

    at = urlsplit(api.url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=60)
    headers = {"Authorization": f"Bearer {S1}", "Transfer-Encoding": "chunked", **BUNDLE}
    try:
        connection.request("POST", "/v1/fallback/s1", body=endless(), headers=headers, encode_chunked=True)  # type: ignore[arg-type]
        answer = connection.getresponse()
        assert answer.status == 413 and b"16 MiB" in answer.read()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the server hung up on what it will not read
    finally:
        connection.close()
    assert sent <= 4 * MAX_IMAGE_BYTES
    over = api.post("/v1/fallback/s1", S1, content=bytes(MAX_IMAGE_BYTES + 1))
    assert over.status_code == 413


def test_p8_an_image_that_nobody_asked_for_is_refused_and_not_stored(api: Api, png: Callable[..., bytes]) -> None:
    answer = api.post("/v1/samples/s1/x1", S1, content=png())
    assert answer.status_code == 403 and "images leave a station only on request" in answer.json()["detail"]
    assert not list((api.tuf.parent.parent / "blobs").rglob("*"))


def test_an_image_that_was_asked_for_is_stored_by_its_hash(api: Api, png: Callable[..., bytes]) -> None:
    api.tables.samples.mark_requested(["x1"], 1, 1.0)
    assert api.post("/v1/samples/s1/x1", S1, content=png()).status_code == 204
    assert api.tables.samples.get("x1").image_sha256 == hashlib.sha256(png()).hexdigest()
    assert api.post("/v1/samples/s1/x1", S1, content=png(3)).status_code == 204, "sent again: no error, no change"
    assert api.tables.samples.get("x1").image_sha256 == hashlib.sha256(png()).hexdigest()


def test_an_image_that_cannot_be_stored_now_is_to_be_sent_again(api: Api, png: Callable[..., bytes]) -> None:
    api.tables.samples.mark_requested(["x1"], 1, 1.0)
    blobs = api.tuf.parent.parent / "blobs"
    blobs.write_text("where the folder should be")
    answer = api.post("/v1/samples/s1/x1", S1, content=png())
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
    assert api.tables.samples.get("x1").image_sha256 is None
    blobs.unlink()
    assert api.post("/v1/samples/s1/x1", S1, content=png()).status_code == 204


def test_an_image_of_an_unknown_or_another_stations_frame_is_404_and_not_stored(
    api: Api, png: Callable[..., bytes]
) -> None:
    api.tables.samples.mark_requested(["x1"], 1, 1.0)
    assert api.post("/v1/samples/s1/nothing", S1, content=png()).status_code == 404
    assert api.post("/v1/samples/s2/x1", "token of s2", content=png()).status_code == 404
    assert api.tables.samples.get("x1").image_sha256 is None
    assert not list((api.tuf.parent.parent / "blobs").rglob("*"))
