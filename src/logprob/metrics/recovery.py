"""How well a model's features recover the sources that made the data."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.metrics.latent import slices
from logprob.metrics.mean_correlation import MCCResult, Method, Target, mcc


@dataclass(frozen=True)
class SourceRecovery:
    """Mean correlation coefficient of ``model.features(x)`` with the sources in ``target``: :func:`mcc`, in a run.

    ``mcc_pearson_identity``, ``mcc_pearson_abs``, ``mcc_pearson_square`` and so on: method, then what of the sources
    was compared; higher is better, at most 1. With ``both`` the name ends in ``_both``. A null adds ``_null_mean``,
    ``_null_quantile95`` and ``_null_p``. If the features have a leading axis of copies, every number is its mean over
    the copies, and ``..._sd`` is its standard deviation among them.

    It looks at the truth: it is to be reported, never to choose a checkpoint, a restart or a setting.

    Args:
        target: ``"identity"``, ``"abs"``, ``"square"``, or several of them.
        method: ``"pearson"``, ``"spearman"``, ``"rdc"``, or several of them.
        both: compare the same of the features.
        null: also shuffle the rows, ``"rows"``, or those of each label in ``context``, ``"within"``.
        permutations: number of shuffles.
        with_context: call ``model.features(x, context)``, for models whose features depend on the label.
        seed: of the shuffles and of RDC's weights; torch's own generator is left alone.
        batch_size: rows whose features are computed at once.

    Raises:
        ValueError: when called, if the rows have no target, or no context where one is needed; and as :func:`mcc`.

    Example:
        >>> from types import SimpleNamespace
        >>> s = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
        >>> model = SimpleNamespace(features=lambda x: x.flip(-1).abs())
        >>> found = SourceRecovery()(model, Batch(s, target=s))
        >>> {name: round(value, 2) for name, value in found.items()}
        {'mcc_pearson_identity': 0.08, 'mcc_pearson_abs': 1.0, 'mcc_pearson_square': 0.94}
    """

    target: Target | Sequence[Target] = ("identity", "abs", "square")
    method: Method | Sequence[Method] = "pearson"
    both: bool = False
    null: Literal["rows", "within"] | None = None
    permutations: int = 200
    with_context: bool = False
    seed: int = 0
    batch_size: int = 4096

    def __call__(self, model: DistributionModule, batch: Batch) -> Mapping[str, float]:
        """Evaluate ``model`` on every row of ``batch``."""
        if batch.target is None:
            raise ValueError("expected sources as target")
        if batch.context is None and (self.with_context or self.null == "within"):
            raise ValueError("expected labels as context")
        features = self._features(model, batch)
        copies = features.reshape(-1, *features.shape[-2:])
        found = [self._numbers(batch, one) for one in copies]
        if features.dim() == 2:
            return found[0]
        spread = {f"{name}_sd": _deviation([numbers[name] for numbers in found]) for name in found[0]}
        return {name: statistics.fmean(numbers[name] for numbers in found) for name in found[0]} | spread

    def _features(self, model: Any, batch: Batch) -> Tensor:
        with torch.no_grad():
            parts = [batch.rows(part) for part in slices(len(batch.x), self.batch_size)]
            inputs = [(part.x, part.context) if self.with_context else (part.x,) for part in parts]
            return torch.cat([model.features(*given) for given in inputs], dim=-2)

    def _numbers(self, batch: Batch, features: Tensor) -> dict[str, float]:
        methods, targets = ((given,) if isinstance(given, str) else given for given in (self.method, self.target))
        numbers: dict[str, float] = {}
        for method in methods:
            for target in targets:
                name = f"mcc_{method}_{target}" + "_both" * self.both
                numbers |= _named(name, self._result(batch, features, method, target))
        return numbers

    def _result(self, batch: Batch, features: Tensor, method: Any, target: Any) -> MCCResult:
        return mcc(
            batch.target,
            features,
            method=method,
            target=target,
            both=self.both,
            null=self.null,
            groups=batch.context if self.null == "within" else None,
            permutations=self.permutations,
            generator=self.seed,
        )


def _named(name: str, result: MCCResult) -> dict[str, float]:
    if result.null is None:
        return {name: result.score}
    null = result.null
    extra = {"_null_mean": null.mean, "_null_quantile95": null.quantile, "_null_p": null.p_value}
    return {name: result.score} | {name + end: value for end, value in extra.items()}


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else float("nan")
