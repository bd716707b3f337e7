"""What is minimised leads where it should, for each head."""

from __future__ import annotations

import pytest
import torch

from cloud.retrain.models.output import ModelOutput
from cloud.retrain.objective import Targets, loss_of, right_of
from cloud.retrain.run_records import Head, Recipe
from contract.errors import InvalidConfig


def _fitted(
    targets: Targets, recipe: Recipe, shape: tuple[int, ...] = (2, 3), good: tuple[int, ...] = ()
) -> torch.Tensor:
    """Return the logits that the loss ends at."""
    logits = torch.zeros(shape, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.2)
    for _ in range(250):
        optimizer.zero_grad()
        torch.autograd.backward(loss_of(ModelOutput(logits), targets, recipe, good=good))
        optimizer.step()
    return logits.detach()


@pytest.mark.slow
def test_a_student_ends_where_labels_and_teacher_pull_it() -> None:
    teacher = torch.tensor([[2.0, 1.0, -1.0], [0.0, 3.0, 1.0]])
    targets = Targets(torch.tensor([2, 2]), teacher=teacher)
    alone = _fitted(targets, Recipe(distil=1.0))
    torch.testing.assert_close(alone.softmax(1), teacher.softmax(1), atol=0.02, rtol=0)
    assert _fitted(targets, Recipe(distil=0.0)).argmax(1).tolist() == [2, 2]
    mixed = _fitted(targets, Recipe(distil=0.5)).softmax(1)[:, 2]
    assert (mixed > teacher.softmax(1)[:, 2] + 0.02).all()


def test_a_student_of_independent_labels_learns_them_from_its_teacher() -> None:
    teacher = torch.tensor([[-2.0, 2.0, 1.0], [3.0, -3.0, -4.0]])
    targets = Targets(torch.tensor([1, 0]), every=torch.zeros(2, 3), teacher=teacher)
    fitted = _fitted(targets, Recipe(head=Head.MULTI, distil=1.0), good=(0,))
    torch.testing.assert_close(fitted[:, 1:], teacher[:, 1:], atol=0.05, rtol=0.05)
    assert not fitted[:, 0].any()


def test_independent_labels_are_learnt_each_for_itself() -> None:
    every = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    recipe = Recipe(head=Head.MULTI)
    targets = Targets(torch.tensor([1, 0]), every=every)
    fitted = _fitted(targets, recipe, good=(0,))
    # The smoothing of 0.05 is between two answers.
    torch.testing.assert_close(torch.sigmoid(fitted[:, 1:]), every[:, 1:] * 0.95 + 0.025, atol=0.005, rtol=0)
    with pytest.raises(InvalidConfig, match="every label"):
        loss_of(ModelOutput(fitted), Targets(targets.labels), recipe)


def test_an_image_is_named_right_by_any_of_its_labels() -> None:
    output = ModelOutput(torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [3.0, 1.0, 2.0]]))
    every = torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    targets = Targets(torch.tensor([1, 1, 0]), every=every)
    assert right_of(output, targets, Recipe(head=Head.MULTI)).tolist() == [True, False, True]
    assert right_of(output, targets, Recipe()).tolist() == [False, False, True]


def test_masks_are_learnt_from_the_images_that_have_one() -> None:
    masks = torch.zeros(2, 1, 8, 8)
    masks[0, 0, 5, 5] = 1
    logits = torch.zeros(2, 1, 4, 4, requires_grad=True)
    recipe = Recipe(head=Head.SEGMENT)
    scores = torch.zeros(2, 3)
    for masked, touched in (
        (torch.tensor([True, False]), [True, False]),
        (torch.tensor([False, False]), [False, False]),
    ):
        targets = Targets(torch.tensor([0, 1]), masks=masks, masked=masked)
        (gradient,) = torch.autograd.grad(loss_of(ModelOutput(scores, mask=logits), targets, recipe), logits)
        assert [bool(g.any()) for g in gradient] == touched
        if touched[0]:
            assert (gradient[0, 0] < 0).nonzero().tolist() == [[2, 2]]
    plain = loss_of(ModelOutput(scores), Targets(torch.tensor([0, 1])), recipe)
    off = Recipe(head=Head.SEGMENT, mask_weight=0.0)
    targets = Targets(torch.tensor([0, 1]), masks=masks, masked=torch.tensor([True, True]))
    torch.testing.assert_close(loss_of(ModelOutput(scores, mask=logits), targets, off), plain)
