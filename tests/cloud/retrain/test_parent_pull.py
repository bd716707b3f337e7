from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cloud.retrain.parent_pull import ParentPull


def _task() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A layer that is right already, but for one output; and noise that gives every weight a gradient."""
    torch.manual_seed(3)
    layer = nn.Linear(24, 4)
    inputs = torch.randn(256, 24)
    wanted = layer(inputs).detach() + 0.05 * torch.randn(256, 4)
    wanted[:, 0] += 2 * inputs[:, 5]
    return layer, inputs, wanted


def _train(strength: float, steps: int = 200) -> tuple[nn.Module, torch.Tensor, float]:
    layer, inputs, wanted = _task()
    weight = next(layer.parameters())
    parent = weight.detach().clone()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.03)
    pull = ParentPull(layer, strength, steps)
    for number in range(steps):
        rows = torch.randperm(256, generator=torch.Generator().manual_seed(number))[:32]
        optimizer.zero_grad()
        nn.functional.mse_loss(layer(inputs[rows]), wanted[rows]).backward()
        pull.step(optimizer, number)
    with torch.no_grad():
        return layer, weight == parent, float(nn.functional.mse_loss(layer(inputs), wanted))


def test_only_what_the_task_asks_for_moves_and_it_moves_all_the_way() -> None:
    free, unmoved, loss_free = _train(0.0)
    assert not unmoved.any()
    pulled, unmoved, loss = _train(0.5)
    assert unmoved.float().mean() > 0.5 and not unmoved[0, 5]
    assert loss < 0.02 and loss_free < 0.02
    # The pull itself would hold a weight short of where it should be.
    assert abs(float((next(pulled.parameters()) - next(free.parameters())).detach()[0, 5])) < 0.2


@settings(max_examples=12, deadline=None)
@given(st.floats(0.05, 2), st.integers(2, 12), st.integers(0, 2**31))
def test_a_weight_that_was_not_chosen_stays_the_parents_to_the_bit(strength: float, steps: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.LazyLinear(2))
    layer(torch.zeros(2, 2, 6, 6))
    parent = [each.detach().clone() for each in layer.parameters()]
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01)
    pull = ParentPull(layer, strength, steps)
    chosen: list[torch.Tensor] = []
    for number in range(steps):
        optimizer.zero_grad()
        layer(torch.randn(4, 2, 6, 6)).square().mean().backward()
        pull.step(optimizer, number)
        moved = [now.detach() != before for now, before in zip(layer.parameters(), parent, strict=True)]
        if number + 1 == round(0.75 * steps):
            chosen = moved
    for before, after, each in zip(chosen, moved, parent, strict=True):
        assert each.ndim == 1 or not (after & ~before).any()
