"""Whatever a label file says, a dataset comes of it or an error that a person can read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.retrain.layouts.found import FolderSource, check_inside, read_time
from cloud.retrain.layouts.registry import find_images
from contract.errors import BadDataset
from tests.cloud.retrain.layout_files import coco_content, studio_tasks, write_table, write_yolo_files

_leaf = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["../x", "/etc", "a" * 300, "\ud800", "a\0b", "http://[", "images/good00.png?d=..", "good00.png"])
)
_value = st.recursive(
    _leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in inner for found in _paths(each, (*path, key)))]


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with(value[path[0]], path[1:], new)
    return copy


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    root = tmp_path_factory.mktemp("any")
    return {
        "coco": (root / "c", coco_content(root / "c", 2)),
        "labelstudio": (root / "s", studio_tasks(root / "s", 1)),
        "csv": (write_table(root / "t", per_label=1), None),
        "yolo": (write_yolo_files(root / "y", 1), None),
    }


def _find(root: Path, layout: str) -> None:
    try:
        findings = find_images(FolderSource(root, layout=layout, draw_masks=True))
    except BadDataset as error:
        assert error.message
    else:
        assert all((root / f.file).is_file() and f.labels for f in findings.found)


@pytest.mark.parametrize("layout", ["coco", "labelstudio"])
def test_a_json_file_with_anything_anywhere(layout: str, roots: dict[str, tuple[Path, Any]]) -> None:
    root, content = roots[layout]
    paths = _paths(content)

    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from(paths), _value)
    def holds(path: tuple[Any, ...], value: Any) -> None:
        (root / "labels.json").write_text(json.dumps(_with(content, path, value)))
        _find(root, layout)

    holds()


def test_tables_and_boxes_with_anything_in_them(roots: dict[str, tuple[Path, Any]]) -> None:
    (table, _), (boxes, _) = roots["csv"], roots["yolo"]

    @settings(max_examples=100, deadline=None)
    @given(st.text(max_size=20) | st.lists(st.text(max_size=4) | st.integers().map(str), max_size=7).map(" ".join))
    def holds(text: str) -> None:
        (table / "labels.csv").write_text(f"file,label,labelled_at\ngood00.png,good,{text}\n{text}", "utf-8", "replace")
        _find(table, "csv")
        (boxes / "labels" / "stain00.txt").write_text(f"0 {text}\n{text}", "utf-8", "replace")
        _find(boxes, "yolo")

    holds()


@given(st.text(max_size=30) | st.datetimes().map(str) | st.from_regex(r"[0-9.T:+-]{1,20}"))
def test_any_text_is_a_time_or_none(text: str) -> None:
    try:
        moment = read_time(text, "line 1")
    except BadDataset as error:
        assert error.message.startswith("line 1")
    else:
        assert moment is None or moment >= 0


@given(st.text(max_size=20) | st.lists(st.sampled_from(["..", ".", "a", "", "C:", "\\"]), max_size=5).map("/".join))
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    root = Path("/tmp/images")
    try:
        plain = check_inside(root, name, "line 1")
    except BadDataset as error:
        assert error.message.startswith("line 1")
    else:
        assert (root / plain).resolve().is_relative_to(root.resolve())
