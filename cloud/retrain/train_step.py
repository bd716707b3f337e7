"""One step's gradients, in as many pieces as the memory asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from cloud.retrain.objective import Targets, loss_of
from cloud.retrain.place import Place
from cloud.retrain.run_records import Recipe
from contract.errors import BadModel, TransientError


class Gradients:
    """Fills the gradients of a model, batch by batch.

    Where a batch does not fit into memory it is computed in 2, 4, ... pieces whose gradients are added up; from then on all are.
    The sum is the whole batch's gradient but for batch norm, which sees the pieces' statistics.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        place: Place,
        good: tuple[int, ...] = (),
        on_shortage: Callable[[str], None] = lambda said: None,
    ) -> None:
        """`model` answers ModelOutput; `good`: places of labels that mean a good part; `on_shortage` is told of each halving."""
        self._model, self._recipe, self._place, self._good = model, recipe, place, good
        self._on_shortage = on_shortage
        self.pieces = 1

    def fill(self, images: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Fill the gradients of a batch f32[N,C,h,w] and return its mean loss, detached.

        Raises:
            BadModel: not even single images fit into memory.
            TransientError: no room, where several processes train together.
        """
        while True:
            try:
                return self._in_pieces(images, targets)
            except (RuntimeError, MemoryError) as error:
                if not is_shortage(error):
                    raise
                said = str(error).splitlines()[0]
            # Outside the except clause: the traceback holds the tensors that are to be freed.
            self._make_smaller(len(images), said)

    def _in_pieces(self, images: torch.Tensor, targets: Targets) -> torch.Tensor:
        self._model.train()
        self._model.zero_grad(set_to_none=True)
        total = torch.zeros((), device=images.device)
        for rows in torch.arange(len(images), device=images.device).tensor_split(min(self.pieces, len(images))):
            part = targets if self.pieces == 1 else _some(targets, rows)
            # bf16 halves a GPU's time; on CPUs without its instructions it is slower than fp32.
            on_gpu = self._place.device.type == "cuda"
            with torch.autocast(self._place.device.type, torch.bfloat16, enabled=on_gpu):
                output = self._model(images if self.pieces == 1 else images[rows])
                loss = loss_of(output, part, self._recipe, good=self._good) * (len(rows) / len(images))
            torch.autograd.backward(loss)
            total += loss.detach()
        return total

    def _make_smaller(self, count: int, said: str) -> None:
        self._model.zero_grad(set_to_none=True)
        if self._place.world_size > 1:
            # The others wait inside the step that failed here; a process group does not come back from that.
            raise TransientError(
                f"out of memory: {said}", hint="use a smaller --batch-size, or fewer processes a machine"
            )
        if self.pieces >= count:
            raise BadModel(
                f"out of memory with a single image: {said}",
                hint="use a smaller --size or --width, or a larger machine",
            )
        self.pieces = min(self.pieces * 2, count)
        if self._place.device.type == "cuda":
            torch.cuda.empty_cache()
        self._on_shortage(f"out of memory: batches of {count} are computed in {self.pieces} pieces")


def is_shortage(error: BaseException) -> bool:
    """Return whether an error means that there was no memory for a tensor."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        words in str(error) for words in ("can't allocate memory", "not enough memory", "bad_alloc", "out of memory")
    )


def _some(targets: Targets, rows: torch.Tensor) -> Targets:
    return replace(
        targets,
        labels=targets.labels[rows],
        every=None if targets.every is None else targets.every[rows],
        masks=None if targets.masks is None else targets.masks[rows],
        masked=None if targets.masked is None else targets.masked[rows],
        teacher=None if targets.teacher is None else targets.teacher[rows],
    )
