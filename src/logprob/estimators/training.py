"""Train the copies of a stacked model side by side: one loop, one shuffle, one optimiser."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

Losses = Callable[[Tensor], Tensor]  # numbers of rows (B,) -> one mean loss for each copy (C,)
Optimizer = Callable[[list[nn.Parameter], float], torch.optim.Optimizer]
Shower = Callable[[int, float], None]
RECORDS = 10  # lines of history: a look at the held-out rows costs more than a step
_DRAWN_EVERY = 25  # steps between updates of a bar


def adam(parameters: list[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    """Adam in one kernel for all parameters; element-wise, so copies do not see one another."""
    return torch.optim.Adam(parameters, lr=learning_rate, fused=True)


def train_copies(
    parameters: Iterable[nn.Parameter],
    losses: Losses,
    rows: int,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    decay: Literal["cosine", "constant"] = "cosine",
    optimizer: Optimizer = adam,
    held_out: Callable[[], Tensor] | None = None,
    after_step: Callable[[int], None] | None = None,
    records: int = RECORDS,
    progress: bool = False,
    description: str = "training",
) -> list[dict[str, Any]]:
    """Minimise the sum of the losses of C copies, which gives each copy the gradient that it would have alone.

    All copies see the same minibatches: consecutive slices of a shuffled index. Random numbers come from torch's
    global generator.

    Args:
        parameters: what is trained.
        losses: from numbers of rows, int64 ``(B,)``, to the mean loss of each copy over them, ``(C,)`` or ``()``.
        rows: number N of rows. A batch size above N means all rows.
        steps: number of steps.
        batch_size: rows of a step.
        learning_rate: at the start.
        decay: ``"cosine"`` to zero at the last step, or ``"constant"``.
        optimizer: makes an optimiser of parameters and a learning rate.
        held_out: mean loss of each copy over held-out rows, for the history.
        after_step: called with the number of steps taken, for averages of parameters.
        records: lines of history.
        progress: show a bar, where rich is installed.
        description: beside the bar.

    Returns:
        History: dicts with ``step``, ``losses`` (list of C means since the last line) and, given ``held_out``,
        ``held_out_losses``.

    Raises:
        ValueError: unless ``rows``, ``steps`` and ``batch_size`` are at least 1.

    Example:
        >>> x, w = torch.randn(64), nn.Parameter(torch.zeros(3, 1))
        >>> history = train_copies([w], lambda i: ((x[i] - w) ** 2).mean(-1), 64, steps=20, batch_size=8,
        ...                        learning_rate=0.1)
        >>> history[-1]["step"], len(history[-1]["losses"])
        (20, 3)
    """
    if min(rows, steps, batch_size) < 1:
        raise ValueError(f"rows, steps and batch_size must be at least 1, got {rows}, {steps} and {batch_size}")
    trained = list(parameters)
    descent = optimizer(trained, learning_rate)
    batches = minibatches(rows, batch_size, device=trained[0].device)
    marks = {math.ceil(steps * k / records) for k in range(1, records + 1)}
    history: list[dict[str, Any]] = []
    total, since = torch.zeros(()), 0
    with progress_bar(steps, description, progress) as show:
        for step in range(1, steps + 1):
            if decay == "cosine":
                for group in descent.param_groups:
                    group["lr"] = learning_rate * (1 + math.cos(math.pi * (step - 1) / steps)) / 2
            each = losses(next(batches))
            descent.zero_grad()
            each.sum().backward()
            descent.step()
            total, since = total.to(each.device) + each.detach(), since + 1
            if after_step is not None:
                after_step(step)
            if step in marks:
                history.append(_record(step, total / since, held_out))
                total, since = torch.zeros(()), 0
            if progress and step % _DRAWN_EVERY == 0:
                show(step, float(each.detach().mean()))
    return history


def _record(step: int, losses: Tensor, held_out: Callable[[], Tensor] | None) -> dict[str, Any]:
    record: dict[str, Any] = {"step": step, "losses": losses.reshape(-1).tolist()}
    if held_out is not None:
        with torch.no_grad():
            record["held_out_losses"] = held_out().reshape(-1).tolist()
    return record


def minibatches(rows: int, size: int, device: torch.device | str = "cpu") -> Iterator[Tensor]:
    """Numbers of rows, for ever: full slices of one shuffle after another; the rows left over sit an epoch out.

    A size above the number of rows means all of them.

    Example:
        >>> [len(index) for index, _ in zip(minibatches(10, 4), range(3))]
        [4, 4, 4]
    """
    size = min(size, rows)
    while True:
        shuffled = torch.randperm(rows).to(device)  # drawn on the processor: the same rows on every device
        for start in range(0, rows - size + 1, size):
            yield shuffled[start : start + size]


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, size: int = 8192, dim: int = -2) -> Tensor:
    """Apply a function to slices of rows, without gradient, and put its answers side by side on dimension ``dim``."""
    with torch.no_grad():
        return torch.cat([function(part) for part in x.split(size)], dim)


@contextmanager
def progress_bar(steps: int, description: str, shown: bool) -> Iterator[Shower]:
    """What shows ``(step, loss)`` on a bar on standard error; nothing where not wanted or where rich is missing."""
    progress = _rich() if shown else None
    if progress is None:
        yield lambda step, loss: None
        return
    with progress:
        task = progress.add_task(description, total=steps)
        yield lambda step, loss: progress.update(task, completed=step, description=f"{description}, loss {loss:.4f}")


def _rich() -> Any:
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        return None
    return Progress(console=Console(file=sys.stderr), transient=True)


def lowest(losses: Tensor) -> int:
    """The copy with the lowest held-out loss.

    Raises:
        ValueError: if no copy ended with a finite one.

    Example:
        >>> lowest(torch.tensor([2.0, float("nan"), 1.0]))
        2
    """
    if not losses.isfinite().any():
        raise ValueError(
            f"expected a restart with a finite held-out objective, got {losses.tolist()}; lower learning_rate, or "
            "scale the columns of X"
        )
    return int(torch.where(losses.isfinite(), losses, torch.inf).argmin())
