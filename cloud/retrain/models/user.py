"""A network of the user's own: "module:factory", imported from the current folder or PYTHONPATH.

`factory(channels=, classes=, input_px=, width=)` returns an nn.Module from images f32[N,C,h,w] to logits f32[N,K] or a ModelOutput.
It may load weights from local files. It cannot download any: a run that trains from what a server happened to send cannot be
repeated, and a plant has no internet. The network is refused while the factory runs.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cloud.retrain.models.output import ModelOutput
from cloud.retrain.models.tail import GoodIfNoDefect
from cloud.retrain.run_records import Head, Recipe
from contract.errors import InvalidConfig, PlumblineError

_HINT = "factory(channels=, classes=, input_px=, width=) -> torch.nn.Module that gives logits [N,K]"


class UserNetwork(nn.Module):
    """A user's network that answers as ours do. `good`: places of GOOD labels where labels are independent, else None."""

    def __init__(self, network: nn.Module, classes: int, good: tuple[int, ...] | None) -> None:
        super().__init__()
        self.network = network
        self.good = good
        self.float_good = GoodIfNoDefect(classes, good) if good is not None else None

    @property
    def independent(self) -> bool:
        """Whether labels do not exclude each other: the export then answers probabilities."""
        return self.good is not None

    def forward(self, images: torch.Tensor) -> ModelOutput:
        """Return the answer to images f32[N,C,h,w]."""
        answer = self.network(images)
        output = answer if isinstance(answer, ModelOutput) else ModelOutput(answer)
        if self.float_good is not None:
            output = output._replace(scores=self.float_good(output.scores))
        return output


def build_user_network(
    recipe: Recipe, channels: int, classes: int, input_px: int, good: tuple[int, ...] | None
) -> UserNetwork:
    """Return what the factory named by `recipe.model` makes, tried on a blank image.

    Raises:
        InvalidConfig: there is no such module or factory, it fails, reaches for the network, or answers something else than
            logits f32[N,K]; or the head is SEGMENT and the network gives no mask.
    """
    name = recipe.model
    factory = _find(name)
    with _explained(f"'{name}' could not make a network"), _offline(name):
        made = factory(channels=channels, classes=classes, input_px=input_px, width=recipe.width)
    if not isinstance(made, nn.Module):
        raise InvalidConfig(f"'{name}' made a {type(made).__name__}, not a torch.nn.Module", hint=_HINT)
    network = UserNetwork(made, classes, good).eval()
    with _explained(f"'{name}' refuses images of [2, {channels}, {input_px}, {input_px}]"), torch.no_grad():
        output = network(torch.zeros(2, channels, input_px, input_px))
    scores: Any = output.scores
    if not isinstance(scores, torch.Tensor) or tuple(scores.shape) != (2, classes) or scores.dtype != torch.float32:
        shown = (
            f"{list(scores.shape)} of {scores.dtype}"
            if isinstance(scores, torch.Tensor)
            else f"a {type(scores).__name__}"
        )
        raise InvalidConfig(f"'{name}' answers {shown}, not logits [2, {classes}] of torch.float32", hint=_HINT)
    if recipe.head is Head.SEGMENT and output.mask is None:
        raise InvalidConfig(
            f"'{name}' gives no mask to learn from", hint="return a ModelOutput with mask=, or use --head single"
        )
    return network.train()


def _find(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise InvalidConfig(f"'{name}' is not module:factory", hint="e.g. my_models:small_net")
    here = str(Path.cwd())
    # Last, so that a file of the user's cannot stand in for a library that another import needs.
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.append(here)
    try:
        with _explained(f"'{module_name}' could not be imported"), _offline(name):
            module = importlib.import_module(module_name)
    finally:
        if added:
            sys.path.remove(here)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise InvalidConfig(f"'{module_name}' has no factory '{attribute}'", hint=_HINT)
    return factory  # type: ignore[no-any-return]


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn whatever the user's code raises into an error that says where it came from."""
    try:
        yield
    except PlumblineError:
        raise
    except ModuleNotFoundError as error:
        raise InvalidConfig(
            f"{what}: {error}", hint="run from the folder that holds it, or name that folder in PYTHONPATH"
        ) from error
    except Exception as error:
        raise InvalidConfig(f"{what}: {type(error).__name__}: {error}", hint=_HINT) from error


_guarded: contextvars.ContextVar[str] = contextvars.ContextVar("guarded", default="")
_hooks: list[Callable[[str, tuple[Any, ...]], None]] = []


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo") and _guarded.get():
        # A connection to a socket file, whose address is a string, leads to this machine only.
        if event == "socket.connect" and not isinstance(arguments[1], tuple):
            return
        raise InvalidConfig(
            f"'{_guarded.get()}' reached for the network", hint="let the factory load its weights from a local file"
        )


@contextlib.contextmanager
def _offline(name: str) -> Iterator[None]:
    """Refuse connections that this thread opens. An audit hook cannot be taken away again, so there is one for good."""
    if not _hooks:
        _hooks.append(_refuse_network)
        sys.addaudithook(_refuse_network)
    token = _guarded.set(name)
    try:
        yield
    finally:
        _guarded.reset(token)
