"""What a station pins is looked at when it starts."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from agent.slots.tuf_client import TufClient
from contract.errors import InvalidConfig


@pytest.mark.parametrize("root", [b"", b"garbage", b"{}", b'{"signed": {"_type": "root"}, "signatures": []}'])
def test_a_pinned_root_that_is_none_is_refused_before_any_update(tmp_path: Path, root: bytes) -> None:
    with httpx.Client() as client, pytest.raises(InvalidConfig, match=r"\[trust\] root is no TUF root") as caught:
        TufClient(client, "http://127.0.0.1:9", tmp_path, root)
    assert "root.json" in caught.value.hint and "\n" not in caught.value.one_line()
