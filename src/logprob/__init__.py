"""Models whose normaliser, or whose gradient, is the interesting part.

Every model reads ``log p(x) = unnormalized_log_prob(x) - log_partition``. The submodules load on first use,
so ``import logprob`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from logprob import (
        circuits,
        data,
        discrete,
        distributions,
        energy,
        estimators,
        experiments,
        flows,
        gradients,
        metrics,
        nn,
        objectives,
        simplex,
        testing,
        transforms,
    )

__all__ = [
    "__version__",
    "circuits",
    "data",
    "discrete",
    "distributions",
    "energy",
    "estimators",
    "experiments",
    "flows",
    "gradients",
    "metrics",
    "nn",
    "objectives",
    "simplex",
    "testing",
    "transforms",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"logprob.{name}")
    raise AttributeError(f"module 'logprob' has no attribute {name!r}; it has: {', '.join(__all__[1:])}")


def __dir__() -> list[str]:
    return sorted(__all__)
