"""Where the station's model looked, over HTTP: after a label, never before."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from agent.store.png import encode_png
from cloud.store.samples import Samples
from contract.activation_map import PNG_KEYWORD, encode_map, summarise
from tests.cloud.api.conftest import INSPECTOR, Api
from tests.fakes.cloud_tables import T0


def _image(text: str | None) -> bytes:
    return encode_png(np.full((16, 16), 90, np.uint8), {PNG_KEYWORD: text} if text else {})


def test_a_person_sees_where_the_model_looked_after_saying_what_it_is(api: Api, png: Callable[..., bytes]) -> None:
    evidence = np.zeros((4, 5), np.float32)
    evidence[1, 3] = 2.0
    found = summarise("scratch", evidence)
    assert found is not None
    api.tables.samples.mark_requested(["x0", "x1"], 1, T0)
    api.post("/v1/samples/s1/x0", "token of s1", content=_image(encode_map(found)))
    api.post("/v1/samples/s1/x1", "token of s1", content=_image(None))
    shown = api.get("/v1/review/x0/image", INSPECTOR)
    assert shown.headers["content-type"] == "image/png" and b"scratch" not in shown.content
    assert (np.asarray(Image.open(io.BytesIO(shown.content))) == 90).all()
    early = api.get("/v1/review/x0/looked", INSPECTOR)
    assert early.status_code == 409 and "label it first" in early.json()["detail"]
    for name in ("x0", "x1"):
        api.post(f"/v1/review/{name}", INSPECTOR, json={"label": "good", "labeller": "ann"})
    told = api.get("/v1/review/x0/looked", INSPECTOR).json()
    assert (told["label"], told["truth"], told["rows"], told["columns"]) == ("scratch", "good", 4, 5)
    grid = np.frombuffer(base64.b64decode(told["values"]), np.uint8).reshape(4, 5)
    assert grid[1, 3] == 255 and grid.sum() == 255
    assert api.get("/v1/review/x1/looked", INSPECTOR).status_code == 404
    assert api.get("/v1/review/nothing/looked", INSPECTOR).status_code == 404
    assert api.get("/v1/review/x0/looked", None).status_code == 401


def test_a_second_person_is_not_shown_where_the_model_looked_before_saying_what_it_is(api: Api) -> None:
    api.tables.samples.mark_requested(["x0"], 1, T0)
    api.post("/v1/samples/s1/x0", "token of s1", content=_image(None))
    everyone = Samples(api.tables.database, second_look=1.0)
    everyone.label("x0", "good", "ann", T0)
    for words in ("", "?labeller=bob"):
        assert api.get(f"/v1/review/x0/looked{words}", INSPECTOR).status_code == 409
    assert api.get("/v1/review/x0/looked?labeller=ann", INSPECTOR).status_code == 404, "shown, had there been a map"
    everyone.label("x0", "good", "bob", T0 + 1)
    assert api.get("/v1/review/x0/looked", INSPECTOR).status_code == 404


def test_characters_that_no_database_takes_are_refused(api: Api) -> None:
    assert api.get("/v1/review/queue?labeller=a%00b", INSPECTOR).status_code == 422
    for path in ("image", "looked"):
        assert api.get(f"/v1/review/x%000/{path}", INSPECTOR).status_code == 422
    for body in ({"label": "good", "labeller": "a\0b"}, {"label": "a\nb", "labeller": "ann"}):
        assert api.post("/v1/review/x0", INSPECTOR, json=body).status_code == 422
    split = b'{"label": "good", "labeller": "\\ud800"}'
    assert api.post("/v1/review/x0", INSPECTOR, content=split).status_code == 422


def test_a_map_that_is_none_is_refused_and_hurts_nothing(api: Api) -> None:
    api.tables.samples.mark_requested(["x0"], 1, T0)
    api.post("/v1/samples/s1/x0", "token of s1", content=_image('{"label":"a","rows":900,"columns":1,"values":""}'))
    api.post("/v1/review/x0", INSPECTOR, json={"label": "good", "labeller": "ann"})
    answer = api.get("/v1/review/x0/looked", INSPECTOR)
    assert answer.status_code == 422 and "no activation map" in answer.json()["detail"]
