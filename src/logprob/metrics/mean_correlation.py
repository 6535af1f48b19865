"""The mean correlation coefficient (MCC): how well features recover sources, up to their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from logprob.metrics.association import Association
from logprob.metrics.correlation import (
    RandomSource,
    as_tensor,
    constant_columns,
    generator_of,
    tables,
    warn_of_constants,
)
from logprob.metrics.intervals import Interval, matched_interval
from logprob.metrics.permutation_null import Null, permutation_null

Method = Literal["pearson", "spearman", "rdc"]
Target = Literal["identity", "abs", "square"]
TARGETS = {"identity": "s", "abs": "|s|", "square": "s^2"}


@dataclass(frozen=True, repr=False)
class MCCResult:
    """What :func:`mcc` found.

    Args:
        score: mean correlation of the matched pairs, in 0 to 1; of the test pair, if there was one.
        matrix: ``|corr|`` of every source with every feature, ``(d_s, d_z)``, from which the assignment was made.
        rows: matched sources, ``(m,)`` with ``m = min(d_s, d_z)``, ascending.
        cols: the feature matched to each of them, ``(m,)``.
        signs: of the correlations of the matched pairs, 1 or -1 (0 for a constant column); None for RDC, which is
            blind to them.
        per_component: the correlations whose mean is the score, ``(m,)``.
        method: ``"pearson"``, ``"spearman"`` or ``"rdc"``.
        target: what of the sources was compared, ``"identity"``, ``"abs"`` or ``"square"``.
        both: whether the same was done to the features.
        out_of_sample: whether the score is that of rows which the assignment has not seen.
        null: what scores are by chance, if asked for.
        interval: bootstrap interval of the score, if asked for.
    """

    score: float
    matrix: Tensor
    rows: Tensor
    cols: Tensor
    signs: Tensor | None
    per_component: Tensor
    method: Method
    target: Target
    both: bool
    out_of_sample: bool
    null: Null | None = None
    interval: Interval | None = None

    @property
    def matched(self) -> int:
        """Number of matched pairs, ``min(d_s, d_z)``: the rest of the larger side does not count."""
        return len(self.rows)

    def align(self, features: Any) -> Tensor:
        """The matched features in the order of the sources, with the sign of theirs; ``(N, m)``.

        Args:
            features: ``(N, d_z)``, a tensor or anything that numpy reads.
        """
        found = as_tensor(features)
        chosen = found[:, self.cols.to(found.device)]
        return chosen if self.signs is None else chosen * self.signs.to(chosen)

    def __repr__(self) -> str:
        sources, features = self.matrix.shape
        z = TARGETS[self.target].replace("s", "z") if self.both else "z"
        said = [
            f"score={self.score:.4f}",
            f"{self.method} of {TARGETS[self.target]} with {z}",
            f"{self.matched} pairs of {sources} sources and {features} features",
            "out of sample" if self.out_of_sample else "in sample",
            *(str(extra) for extra in (self.null, self.interval) if extra is not None),
        ]
        return f"MCCResult({', '.join(said)})"


def mcc(
    sources: Any,
    features: Any,
    *,
    method: Method = "pearson",
    target: Target = "identity",
    both: bool = False,
    test: tuple[Any, Any] | None = None,
    null: Literal["rows", "within"] | None = None,
    groups: Any = None,
    permutations: int = 200,
    interval: Literal["bootstrap"] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    generator: RandomSource = None,
) -> MCCResult:
    """Mean correlation coefficient between true sources and learned features.

    With ``C_ij = |corr(t(s_i), z_j)|``, the assignment that makes the sum of C over its pairs largest, found exactly
    (Hungarian algorithm), and the mean of C over these pairs. If there are more of one than of the other, as many as
    possible are matched, and the mean is over ``min(d_s, d_z)`` pairs.

    Args:
        sources: ``(N, d_s)``, a tensor or anything that numpy reads; neither table is changed.
        features: ``(N, d_z)``, likewise.
        method: ``"pearson"`` (blind to affine maps of a component), ``"spearman"`` (to monotone ones: average ranks
            for ties) or ``"rdc"`` (to any map; random and far from 0 by chance: see :func:`rdc`).
        target: t, what of the sources is compared: ``"identity"`` s, ``"abs"`` ``|s|`` or ``"square"`` ``s^2``. It is
            part of the claim: a model that learns from variances alone cannot know signs.
        both: apply t to the features, too.
        test: ``(sources, features)`` of other rows. The assignment is that of the first pair, the score that of these.
        null: ``"rows"`` shuffles the rows of the scored sources, ``"within"`` shuffles them inside each group only,
            which keeps all that the label of a group explains: a score that does not beat this one says "knows the
            group" and no more. Shuffled sources are matched anew, except under ``test``, whose assignment is given.
        groups: label of each scored row, ``(N,)``; for ``null="within"``, and to draw the bootstrap inside groups.
        permutations: B, number of shuffles.
        interval: ``"bootstrap"`` draws rows of the scored pair with replacement; assignment and signs stay as found.
        resamples: number of draws.
        level: probability that the interval is to cover.
        generator: of RDC's weights, shuffles and draws; a generator on the CPU, a seed, or None for torch's own.

    Returns: the score with all that it is made of; tensors in float64 on the CPU.

    Raises:
        ValueError: if a table is not ``(N, d)`` with at least 3 finite rows, numbers of rows or (of ``test``) columns
            differ, an argument is none of its choices, ``null="within"`` has no groups or none of more than one row,
            or the interval of RDC is asked for.

    Warns:
        RuntimeWarning: once, if columns are constant; their correlation is 0.

    Note: In sample the assignment has seen the rows that it is scored on, and chance alone gives scores that grow with
        d; the null says which. The interval is that of the matched pairs, over rows; that over trainings is
        :func:`seed_interval`.

    References: Hyvärinen, Morioka, *Unsupervised Feature Extraction by Time-Contrastive Learning*, NIPS 2016.

    Example:
        >>> s = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> z = torch.stack([-3 * s[:, 1], s[:, 0] + 0.5 * s[:, 1]], dim=1)
        >>> found = mcc(s, z, null="rows", generator=1)
        >>> found
        MCCResult(score=0.9..., pearson of s with z, 2 pairs of 2 sources and 2 features, in sample, null rows: ...)
        >>> found.cols, found.signs
        (tensor([1, 0]), tensor([ 1., -1.], dtype=torch.float64))
    """
    _check(method, target, null, groups, interval)
    random = generator_of(generator)
    pair = _transformed(tables(sources, features), target, both)
    scored = pair if test is None else _transformed(_test_tables(test, pair), target, both)
    constant = [constant_columns(s) | constant_columns(t) for s, t in zip(pair, scored, strict=True)]
    warn_of_constants(sources=constant[0], features=constant[1])

    association = Association.of(method, *pair, random)
    s, z = association.bases(*pair)
    signed = association.between(s, z)
    rows, cols = best_assignment(signed.abs())
    if test is not None:
        s, z = association.bases(*scored)
    of_scored = signed if test is None else association.between(s, z)
    score = of_scored[rows, cols].abs()
    found_null = found_interval = None
    if null is not None:
        assignment = None if test is None else (rows, cols)
        labels = groups if null == "within" else None
        found_null = permutation_null(association, s, z, score.mean().item(), labels, permutations, assignment, random)
    if interval is not None:
        matched = scored[0][rows], scored[1][cols]
        found_interval = matched_interval(*matched, method == "spearman", groups, resamples, level, random)
    return MCCResult(
        score=score.mean().item(),
        matrix=signed.abs(),
        rows=rows,
        cols=cols,
        signs=None if method == "rdc" else signed[rows, cols].sign(),
        per_component=score,
        method=method,
        target=target,
        both=both,
        out_of_sample=test is not None,
        null=found_null,
        interval=found_interval,
    )


def best_assignment(matrix: Any) -> tuple[Tensor, Tensor]:
    """The pairs of rows and columns, none used twice, whose entries have the largest sum; exact, for any shape.

    Args:
        matrix: ``(n, m)``, a tensor or anything that numpy reads; finite.

    Returns: rows, ascending, and the column of each, both ``(min(n, m),)``.

    Example:
        >>> best_assignment([[0.9, 0.8, 0.0], [0.9, 0.1, 0.0]])
        (tensor([0, 1]), tensor([1, 0]))
    """
    rows, cols = linear_sum_assignment(as_tensor(matrix).cpu().numpy(), maximize=True)
    return torch.from_numpy(rows), torch.from_numpy(cols)


def _check(method: str, target: str, null: str | None, groups: Any, interval: str | None) -> None:
    choices = {
        "method": (method, ("pearson", "spearman", "rdc")),
        "target": (target, tuple(TARGETS)),
        "null": (null, (None, "rows", "within")),
        "interval": (interval, (None, "bootstrap")),
    }
    for name, (given, known) in choices.items():
        if given not in known:
            raise ValueError(f"expected {name} to be one of {', '.join(map(repr, known))}, got {given!r}")
    if null == "within" and groups is None:
        raise ValueError("expected groups, the label of each row, for the null within groups")
    if interval is not None and method == "rdc":
        raise ValueError("RDC has no interval here: it finds more dependence in rows that are drawn twice")


def _transformed(pair: tuple[Tensor, Tensor], target: Target, both: bool) -> tuple[Tensor, Tensor]:
    s, z = pair
    return _of_target(s, target), _of_target(z, target) if both else z


def _of_target(x: Tensor, target: Target) -> Tensor:
    return {"identity": x, "abs": x.abs(), "square": x.square()}[target]


def _test_tables(test: tuple[Any, Any], pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    found = tables(*test, ("test sources", "test features"))
    for name, new, old in zip(("sources", "features"), found, pair, strict=True):
        if len(new) != len(old):
            raise ValueError(f"expected {len(old)} columns of test {name}, as of {name}, got {len(new)}")
    return found
