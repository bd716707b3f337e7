"""Networks by name: the family, a user's own, pruned ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cloud.retrain.models.build import build_model
from cloud.retrain.models.output import ModelOutput
from cloud.retrain.models.surface import SurfaceNet, channels_of
from cloud.retrain.prune import prune
from cloud.retrain.run_records import Head, Recipe
from contract.errors import InvalidConfig

_OWN = """
import urllib.request
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.conv, self.head = nn.Conv2d(channels, 4, 3), nn.Linear(4, classes)
    def forward(self, images):
        return self.head(torch.relu(self.conv(images)).amax((2, 3)))

def small(channels, classes, input_px, width):
    return Net(channels, classes)
def wrong(channels, classes, input_px, width):
    return Net(channels, classes + 1)
def broken(channels, classes, input_px, width):
    raise RuntimeError("no weights at /srv/w.pt")
def downloads(channels, classes, input_px, width):
    urllib.request.urlopen("http://203.0.113.1/weights.pt", timeout=1)
def number(channels, classes, input_px, width):
    return 3
value = 7
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_networks.py").write_text(_OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "own_networks", raising=False)
    return tmp_path


def _build(model: str, head: Head = Head.SINGLE) -> nn.Module:
    return build_model(Recipe(model=model, head=head), 1, 3, 40, good=(0,))


def test_the_first_releases_checkpoints_still_load() -> None:
    names = list(build_model(Recipe(), 1, 3, 96).state_dict())
    layers = ("1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked")
    stages = [f"stages.{n}.{layer}" for n in range(4) for layer in ("0.weight", *layers)]
    assert names == [*stages, "head.weight", "head.bias"]


def test_a_network_of_the_users_own_comes_from_the_current_folder(own: Path) -> None:
    network = _build("own_networks:small")
    assert network.training and network(torch.zeros(2, 1, 40, 40)).scores.shape == (2, 3)
    multi = _build("own_networks:small", Head.MULTI)(torch.randn(4, 1, 40, 40)).scores
    torch.testing.assert_close(multi[:, 0], -multi[:, 1:].amax(1))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("no_such_module:net", "could not be imported.*no_such_module"),
        ("own_networks:missing", "has no factory 'missing'"),
        ("own_networks:value", "has no factory 'value'"),
        ("own_networks:", "is not module:factory"),
        ("own_networks:wrong", r"answers \[2, 4\] of torch.float32, not logits \[2, 3\]"),
        ("own_networks:broken", "no weights at /srv/w.pt"),
        ("own_networks:downloads", "reached for the network"),
        ("own_networks:number", "made a int, not a torch.nn.Module"),
        ("resnet", "there is no model 'resnet'"),
    ],
)
def test_a_network_that_cannot_be_used_says_why(own: Path, model: str, said: str) -> None:
    with pytest.raises(InvalidConfig, match=said):
        _build(model)


def test_a_head_that_cannot_be_had_is_refused(own: Path) -> None:
    with pytest.raises(InvalidConfig, match="gives no mask"):
        _build("own_networks:small", Head.SEGMENT)
    with pytest.raises(InvalidConfig, match="needs a label of kind defect"):
        build_model(Recipe(head=Head.MULTI), 1, 2, 40, good=(0, 1))
    with pytest.raises(InvalidConfig, match="width"):
        build_model(Recipe(width=0.0), 1, 2, 40)


@pytest.mark.slow
@given(
    recipe=st.builds(
        Recipe,
        width=st.sampled_from([0.5, 1.0]),
        head=st.sampled_from(Head),
        model=st.sampled_from(["surface", "surface-deep"]),
    ),
    share=st.floats(0.05, 0.7),
    seed=st.integers(0, 99),
)
@settings(max_examples=12, deadline=None)
def test_channels_that_nobody_hears_go_without_a_trace(recipe: Recipe, share: float, seed: int) -> None:
    torch.manual_seed(seed)
    network = build_model(recipe, 1, 3, 40, good=(0,))
    images = torch.randn(6, 1, 40, 40)
    network(images)
    assert isinstance(network, SurfaceNet)
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        silent = torch.randperm(norm.num_features)[: int(share * norm.num_features)]
        with torch.no_grad():
            norm.weight[silent] = 0.0
            norm.bias[silent] = -0.1
    smaller = prune(network.eval(), share)
    widths = channels_of(smaller.state_dict())
    assert all(w % 8 == 0 and w <= was for w, was in zip(widths, network.stage_channels, strict=True))
    wanted: ModelOutput = network(images)
    for answer, expected in zip(smaller(images), wanted, strict=True):
        if expected is None:
            assert answer is None
        elif answer.shape == expected.shape:  # an embedding is shorter by what was removed
            torch.testing.assert_close(answer, expected, atol=1e-4, rtol=1e-4)
    again = build_model(recipe, 1, 3, 40, good=(0,), stage_channels=widths)
    again.load_state_dict(smaller.state_dict())
    torch.testing.assert_close(again.eval()(images).scores, smaller(images).scores)


def test_pruning_takes_the_share_asked_for_and_keeps_what_is_heard_most() -> None:
    torch.manual_seed(0)
    network = build_model(Recipe(), 1, 3, 40)
    assert isinstance(network, SurfaceNet)
    norm = network.stages[3][1]  # type: ignore[index]  # a Sequential
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        norm.weight[::2] = 1000.0
        norm.running_mean = torch.arange(128.0)
    smaller = prune(network, 0.5)
    assert smaller.stage_channels == (8, 16, 32, 64)
    assert smaller.state_dict()["stages.3.1.running_mean"].tolist() == [float(n) for n in range(0, 128, 2)]
    for share in (-0.1, 1.0):
        with pytest.raises(InvalidConfig, match="cannot be pruned"):
            prune(network, share)
    with pytest.raises(InvalidConfig, match="surface family"):
        prune(nn.Linear(2, 2), 0.5)
