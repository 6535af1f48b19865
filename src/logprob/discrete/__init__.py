"""Any combinatorial solver as a layer: perturb, solve, and a gradient for what has none."""

from logprob.discrete import solvers

__all__ = ["solvers"]
