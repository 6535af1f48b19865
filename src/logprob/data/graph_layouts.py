"""Vertices that move under the springs of a hidden tree: which are joined?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from logprob.data.base import Dataset, DataSource
from logprob.data.splits import Splits, batches, provenance
from logprob.data.spring_layout import adjacency_of, heaviest_trees, trajectories
from logprob.transforms import Affine

RULE = "graph-layouts/1"
BLOCK = 1024  # graphs made at a time


@dataclass(frozen=True)
class GraphLayouts(DataSource):
    """Trajectories of vertices that the edges of a hidden tree pull together.

    ``Batch.x`` is ``(N, steps * vertices * 2)`` float64, the row-major ``[step, vertex, coordinate]``, scaled to
    [-1, 1] by the extremes of the training rows; ``Batch.target`` the tree, 0 and 1 of the edges
    ``(0, 1), (0, 2), ..., (n-2, n-1)``, float64 ``(N, n (n - 1) / 2)``.

    The tree is the heaviest one under independent Gumbel weights, the start ``N(0, 1)^2`` for every vertex. Each step
    is one of Fruchterman and Reingold's (:func:`~logprob.data.spring_layout.spring_step`), without noise; the start
    itself is not recorded.

    Args:
        vertices: n, at least 2.
        steps: recorded drawings, at least 2; 10 and 20 are usual.
        train: rows.
        valid: rows.
        test: rows.
        seed: of everything.

    Raises:
        ValueError: if a number is out of its range.

    References:
        Kipf, Fetaya, Wang, Welling and Zemel, "Neural Relational Inference for Interacting Systems", ICML 2018.
        Paulus, Choi, Tarlow, Krause and Maddison, "Gradient Estimation with Stochastic Softmax Tricks", NeurIPS 2020.

    Example:
        >>> data = GraphLayouts(vertices=6, train=100, valid=10, test=10).load()
        >>> data.train.x.unflatten(-1, (10, 6, 2)).shape, data.train.target.sum(-1).unique()
        (torch.Size([100, 10, 6, 2]), tensor([5.], dtype=torch.float64))
    """

    vertices: int = 10
    steps: int = 10
    train: int = 50_000
    valid: int = 10_000
    test: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.vertices - 1, self.steps - 1, self.train, self.valid, self.test) < 1 or self.seed < 0:
            raise ValueError(f"expected vertices and steps from 2, rows from 1 and seed from 0, got {self}")

    def load(self, root: str | Path | None = None) -> Dataset:
        """Draw, move and scale; ``root`` is not used, as nothing is read."""
        counts = (self.train, self.valid, self.test)
        made = [self._rows(split, count) for split, count in enumerate(counts)]
        rows, trees = Splits(*(x for x, _ in made)), [tree for _, tree in made]
        low, high = rows.train.min(), rows.train.max()
        middle, half = (torch.full((rows.train.shape[1],), v) for v in ((low + high) / 2, (high - low) / 2))
        affine = Affine(middle.double(), half.double())
        split = {"rule": "a stream of random numbers for every split", "seed": self.seed}
        return Dataset(
            f"graph-layouts-{self.vertices}-{self.steps}",
            *batches((affine.inv(torch.from_numpy(part)) for part in rows), trees),
            transform=affine,
            provenance=provenance(
                RULE, rows, split, vertices=self.vertices, steps=self.steps, extremes=[float(low), float(high)]
            ),
        )

    def stand_in(self, rows: int = 200, root: str | Path | None = None) -> Dataset:
        """As few graphs as asked for, made by the same rule."""
        few = replace(self, train=rows, valid=rows, test=rows).load()
        note = f"{rows} graphs of each split, for smoke runs"
        return replace(few, name=f"{few.name} stand-in", provenance={**few.provenance, "stand_in": note})

    def _rows(self, split: int, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Flattened trajectories and edges; the first rows stay when more are asked for."""
        stream = np.random.default_rng((self.seed, split))
        blocks = [self._block(stream)[: count - start] for start in range(0, count, BLOCK)]
        rows = np.concatenate(blocks)
        edges = self.vertices * (self.vertices - 1) // 2
        return rows[:, edges:], rows[:, :edges]

    def _block(self, stream: np.random.Generator) -> NDArray[Any]:
        """Edges, then trajectory, of each graph in a row."""
        n = self.vertices
        tree = heaviest_trees(stream.gumbel(size=(BLOCK, n * (n - 1) // 2)), n).astype(np.float64)
        moves = trajectories(stream.standard_normal((BLOCK, n, 2)), adjacency_of(tree, n), self.steps)
        return np.concatenate([tree, moves.reshape(BLOCK, -1)], axis=1)
