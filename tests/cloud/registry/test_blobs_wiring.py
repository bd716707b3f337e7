"""cloud.toml says where blobs are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.registry.blobs import Blobs
from cloud.registry.remote_blobs import RemoteBlobs
from cloud.settings import load_settings
from cloud.store_wiring import open_registry


def test_blobs_are_where_cloud_toml_says(tmp_path: Path) -> None:
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install -e '.[scale]'")
    config = tmp_path / "cloud.toml"
    config.write_text("")
    assert isinstance(open_registry(load_settings(config)).blobs, Blobs)
    config.write_text('[blobs]\nurl = "s3://plumbline/blobs"\nendpoint_url = "http://127.0.0.1:9"\n')
    blobs = open_registry(load_settings(config)).blobs
    assert isinstance(blobs, RemoteBlobs) and blobs.store.name == "s3://plumbline/blobs"
