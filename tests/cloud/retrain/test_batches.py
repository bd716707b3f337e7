from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cloud.retrain.batches import BatchPlan
from cloud.retrain.place import Place
from contract.errors import InvalidConfig


@given(st.integers(1, 40), st.integers(1, 16), st.integers(0, 1000))
def test_every_image_is_seen_equally_often(rows: int, batch: int, seed: int) -> None:
    plan = BatchPlan(torch.arange(rows), torch.arange(0), batch, 0.5, seed)
    seen = torch.cat([plan.batch(step) for step in range(rows)])  # rows batches are exactly `batch` whole decks
    assert torch.bincount(seen, minlength=rows).tolist() == [batch] * rows


@given(st.integers(1, 200), st.integers(1, 30), st.integers(2, 32), st.floats(0.01, 0.99), st.integers(0, 50))
def test_reviewed_images_get_their_share_however_few(
    base: int, reviewed: int, batch: int, share: float, step: int
) -> None:
    plan = BatchPlan(torch.arange(base), torch.arange(base, base + reviewed), batch, share, 0)
    rows = plan.batch(step)
    expected = min(batch - 1, max(1, round(batch * share)))
    assert len(rows) == batch and int((rows >= base).sum()) == expected
    assert torch.equal(rows, plan.batch(step))


@pytest.mark.parametrize(("size", "processes", "better"), [(9, 2, 10), (2, 4, 4), (32, 5, 35)])
def test_a_batch_that_gives_no_equal_shares_is_refused(size: int, processes: int, better: int) -> None:
    with pytest.raises(InvalidConfig, match="does not divide") as refused:
        Place(torch.device("cpu"), 0, processes).check_batch(size)
    assert f"--batch-size {better}" in refused.value.hint
    Place(torch.device("cpu"), 0, processes).check_batch(better)
