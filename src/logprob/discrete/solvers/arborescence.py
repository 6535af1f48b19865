"""The heaviest tree of directed edges away from a root."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from typing import Any, NamedTuple

import torch
from torch import Tensor

from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.refusal import can_look, check_scores, refuse
from logprob.discrete.solvers.spanning_tree import SpanningTree, matrix_of


@dataclass(frozen=True)
class Arborescence(Solver):
    """Indicator of the maximum arborescence, ``argmax <z, scores>`` over the spanning trees that lead away from a root.

    An instance is a matrix of scores, shape ``(n, n)``, whose entry ``[i, j]`` is the score of the edge from i to j,
    -inf for no edge; the diagonal and the edges into the root are not used. Every vertex but the root has one edge in.
    The algorithm of Chu, Liu and Edmonds for all instances at once: every component takes its best edge in, all circles
    that this makes become components, until there are none; O(n^2) a round and at most n - 1 rounds, mostly a few. Of
    equal scores the lowest index wins.

    Args:
        root: the vertex without an edge in; a negative one counts from the end.

    Raises:
        ValueError: if a vertex is out of reach, or a score is NaN or +inf. Where Python cannot look, as in compiled
            code, its answer is NaN.

    References:
        Edmonds, *Optimum branchings*, Journal of Research of the National Bureau of Standards 1967.

    Example:
        >>> import torch
        >>> Arborescence()(torch.tensor([[0.0, 5.0, 1.0], [0.0, 0.0, 8.0], [0.0, 9.0, 0.0]]))
        tensor([[0., 1., 0.],
                [0., 0., 1.],
                [0., 0., 0.]])
    """

    event_dim = 2

    root: int = 0

    def __call__(self, scores: Tensor, **unknown: Any) -> Tensor:
        """Solve every instance; see the class."""
        check_scores(self, scores, 2, unknown)
        n = scores.shape[-1]
        if scores.shape[-2] != n or not -n <= self.root < n:
            raise ValueError(f"expected square matrices with a row {self.root}, got shape {tuple(scores.shape)}")
        flat = scores.detach().reshape(-1, n, n)
        usable = _usable(n, self.root % n, flat.device)
        wide = (flat.float() if flat.dtype.itemsize < 4 else flat).masked_fill(~usable, -torch.inf)
        z = _solve(wide, self.root % n)
        wrong = ((wide.isnan() | (wide == torch.inf)) | (z > 0) & (wide == -torch.inf)).flatten(1).any(-1)
        why = "expected no NaN and no +inf, and every vertex within reach of the root"
        return refuse(z.to(scores.dtype).reshape(scores.shape), wrong.reshape(scores.shape[:-2]), why)

    def states(self, event_shape: torch.Size | tuple[int, ...]) -> Tensor:
        """All n^(n - 2) arborescences: the spanning trees with their edges turned away from the root."""
        n = event_shape[-1]
        trees = matrix_of(SpanningTree().states((n * (n - 1) // 2,)))
        depth = torch.full((len(trees), n), n)
        depth[:, self.root] = 0
        for _ in range(n - 1):
            depth = torch.minimum(depth, 1 + torch.where(trees > 0, depth.unsqueeze(-1), n).amin(-2))
        return trees * (depth.unsqueeze(-1) < depth.unsqueeze(-2))


class _Round(NamedTuple):
    """What one round knows. A component is named by one of its vertices; other entries mean nothing."""

    component: Tensor  # that each vertex is in, (B, n)
    source: Tensor  # where the best edge into a component comes from, (B, n)
    target: Tensor  # the vertex of the component that it leads to, (B, n)
    merged: Tensor  # the component that each component becomes part of, (B, n)


def _usable(n: int, root: int, device: torch.device) -> Tensor:
    own = torch.arange(n, device=device)
    return (own.unsqueeze(-1) != own) & (own != root)


def _solve(scores: Tensor, root: int) -> Tensor:
    """Contract circles until there are none, then undo the rounds."""
    own = torch.arange(scores.shape[-1], device=scores.device)
    component = own + torch.zeros_like(scores[..., 0], dtype=own.dtype)
    rounds: list[_Round] = []
    for _ in range(max(1, scores.shape[-1] - 1)):
        done, scores = _contract(scores, component, root)
        rounds.append(done)
        if can_look(scores) and torch.equal(done.merged.gather(-1, component), component):
            break
        component = done.merged.gather(-1, component)
    source = _expand(rounds)
    return torch.zeros_like(scores).scatter(-2, source.unsqueeze(-2), 1.0).index_fill(-1, own[root], 0.0)


def _contract(scores: Tensor, component: Tensor, root: int) -> tuple[_Round, Tensor]:
    """Choose the best edge into every component, and find the circles. The scores are then relative to the chosen."""
    n = scores.shape[-1]
    inner = component.unsqueeze(-1) == component.unsqueeze(-2)
    best, source = scores.masked_fill(inner, -torch.inf).max(-2)  # into every vertex, (B, n)
    best = best.nan_to_num(nan=0.0, neginf=torch.finfo(best.dtype).min)
    lowest = torch.full_like(best, -torch.inf)
    highest = lowest.scatter_reduce(-1, component, best, "amax").gather(-1, component)  # into its component
    own = torch.arange(n, device=scores.device)
    candidates = torch.where(best == highest, own, n)
    target = torch.full_like(candidates, n).scatter_reduce(-1, component, candidates, "amin").clamp(max=n - 1)
    source = source.gather(-1, target)
    before = torch.where(own == root, own, component.gather(-1, source))  # the root is a component of its own
    return _Round(component, source, target, _merge(before)), scores - highest.unsqueeze(-2)


def _merge(before: Tensor) -> Tensor:
    """Name every circle of the map ``before`` by its least element; all others keep their names."""
    n = before.shape[-1]
    own = torch.arange(n, device=before.device).expand_as(before)
    jump, least = before, own
    for _ in range(ceil(log2(n)) if n > 1 else 0):  # jumps of length 2, 4, ..., at least n: they end on a circle
        least = torch.minimum(least, least.gather(-1, jump))
        jump = jump.gather(-1, jump)
    on_circle = torch.zeros_like(before).scatter(-1, jump, 1) > 0
    return torch.where(on_circle, least, own)


def _expand(rounds: list[_Round]) -> Tensor:
    """Of every circle, all edges stay but the one into the vertex where the circle is entered. Gives their sources."""
    source, target = rounds[-1].source, rounds[-1].target
    for done in reversed(rounds[:-1]):
        outer = target.gather(-1, done.merged)  # the vertex at which what holds the component is entered
        entered = done.component.gather(-1, outer) == torch.arange(outer.shape[-1], device=outer.device)
        source = torch.where(entered, source.gather(-1, done.merged), done.source)
        target = torch.where(entered, outer, done.target)
    return source
