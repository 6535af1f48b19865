"""What is read from trained features, with no look at the sources."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
from sklearn.decomposition import FastICA
from torch import Tensor

Kind = Literal["raw", "abs", "ica", "statistics"]
# The lowest estimate of a square should be zero; this quantile is less at the mercy of one row than the minimum.
LOW = 0.001


class Readout:
    """Turns features f ``(N, m)`` of a model into estimates of its sources.

    - ``"raw"``: f.
    - ``"abs"``: ``|f|``, where a model knows a source only through its square.
    - ``"ica"``: FastICA of f, which undoes a linear map of independent sources.
    - ``"statistics"``: FastICA of ``f^2``, oriented to positive skewness, less its 0.1 % quantile, its square root:
      an estimate of ``|s|`` where squares are known up to a linear map.

    Args:
        kind: one of these.
        random_state: of FastICA.

    Raises:
        ValueError: for an unknown kind.

    Example:
        >>> f = torch.tensor([[1.0, -2.0]])
        >>> Readout("abs").fit(f).transform(f)
        tensor([[1., 2.]])
    """

    def __init__(self, kind: Kind = "raw", random_state: Any = None) -> None:
        if kind not in get_args(Kind):
            raise ValueError(f"readout must be one of {', '.join(get_args(Kind))}, got {kind!r}")
        self.kind, self.random_state = kind, random_state

    def describe(self, features: str) -> str:
        """What the answer is called, given the name of the features."""
        names = {"raw": "{}", "abs": "|{}|", "ica": "FastICA({})", "statistics": "sqrt FastICA({}^2)"}
        return names[self.kind].format(features)

    def fit(self, features: Tensor) -> Readout:
        """Learn the linear map, if there is one, from features ``(N, m)``."""
        if self.kind in ("ica", "statistics"):
            self._ica = FastICA(random_state=self.random_state, whiten="unit-variance").fit(self._before(features))
        if self.kind == "statistics":
            components = self._ica.transform(self._before(features))
            centred = components - components.mean(0)
            self._signs = np.where((centred**3).mean(0) < 0, -1.0, 1.0)
            self._lowest = np.quantile(components * self._signs, LOW, axis=0)
        return self

    def transform(self, features: Tensor) -> Tensor:
        """Estimates of the sources, ``(N, m)``."""
        if self.kind == "raw":
            return features
        if self.kind == "abs":
            return features.abs()
        components = self._ica.transform(self._before(features))
        if self.kind == "statistics":
            components = np.sqrt(np.maximum(components * self._signs - self._lowest, 0))
        return torch.from_numpy(components).to(features)

    def _before(self, features: Tensor) -> Any:
        values = features.detach().cpu().double()
        return (values.square() if self.kind == "statistics" else values).numpy()
