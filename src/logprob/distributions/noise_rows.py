"""Rows of noise, drawn from a distribution that takes no gradient."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

CHUNK = 4096
"""Rows that the noise is given at once: memory of a flow's pass grows with them, its speed no longer."""


class ContrastRows(NamedTuple):
    """Rows of data or of noise, and the log-density of the noise at each.

    Args:
        x: ``(N, *event)``.
        labels: ``(N,)``, or None if there are none.
        log_q: ``(N,)``, in nats, or None if it is not needed.
    """

    x: Tensor
    labels: Tensor | None
    log_q: Tensor | None

    def pick(self, index: Tensor) -> ContrastRows:
        """Some of the rows."""
        return ContrastRows(*(None if part is None else part.index_select(0, index) for part in self))  # type: ignore[arg-type]


class Noise:
    """A distribution, or a module that makes one, seen as a source of rows that takes no gradient.

    Rows have the type of the data; log-densities are those of the rounded rows, in the type of the noise.

    Args:
        source: has ``log_prob`` and ``sample``, or makes a distribution that has.
        given_labels: whether it is ``q(x | y)``: the module is then called with the labels.

    Raises:
        TypeError: if a distribution, which knows of no labels, is to depend on them.
    """

    def __init__(self, source: Any, given_labels: bool = False) -> None:
        if given_labels and not isinstance(source, nn.Module):
            raise TypeError(f"noise given labels must be a module that makes it, got {type(source).__name__}")
        self.source, self.given_labels = source, given_labels

    @torch.no_grad()
    def log_prob(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Log-densities of rows, ``(N,)``, in nats."""
        x = x.to(self._dtype(x.dtype))
        parts = []
        with evaluating(self.source):
            for start in range(0, len(x), CHUNK):
                here = slice(start, start + CHUNK)
                given = labels[here] if self.given_labels and labels is not None else None
                parts.append(self.distribution(given).log_prob(x[here]))
        log_q = torch.cat(parts)
        if log_q.shape != x.shape[:1]:
            raise ValueError(f"expected one log-density a row, ({len(x)},), got {tuple(log_q.shape)}")
        return log_q

    @torch.no_grad()
    def draw(self, rows: int, like: Tensor, labels: Tensor | None = None, with_log_q: bool = True) -> ContrastRows:
        """Rows of noise of the type of ``like``.

        Args:
            rows: their number M.
            like: rows of data.
            labels: of the rows of noise, ``(M,)``, if data have labels.
            with_log_q: whether log-densities are wanted.
        """
        parts = []
        with evaluating(self.source):
            for start in range(0, rows, CHUNK):
                size = min(CHUNK, rows - start)
                if self.given_labels and labels is not None:
                    part = self.distribution(labels[start : start + size]).sample()
                else:
                    part = self.distribution().sample((size,))
                parts.append(part.to(like))
        x = torch.cat(parts)
        if x.shape[1:] != like.shape[1:]:
            raise ValueError(f"the noise has rows of shape {tuple(x.shape[1:])}, the data {tuple(like.shape[1:])}")
        return ContrastRows(x, labels, self.log_prob(x, labels) if with_log_q else None)

    def distribution(self, labels: Tensor | None = None) -> Any:
        """The distribution, given labels if it takes any."""
        if not isinstance(self.source, nn.Module):
            return self.source
        return self.source(labels) if self.given_labels else self.source()

    def _dtype(self, default: torch.dtype) -> torch.dtype:
        if not isinstance(self.source, nn.Module):
            return default
        held = itertools.chain(self.source.parameters(), self.source.buffers())
        return next((tensor.dtype for tensor in held if tensor.is_floating_point()), default)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of ``seed`` inside the block; torch's generators go on after it as if it had not been."""
    cuda = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(cuda):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def evaluating(source: Any) -> Iterator[None]:
    """A module in evaluation mode inside the block, every part as it was after it."""
    if not isinstance(source, nn.Module):
        yield
        return
    training = [part for part in source.modules() if part.training]
    source.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
