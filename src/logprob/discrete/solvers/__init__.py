"""Batched solvers of combinatorial problems, and adapters for those of other libraries."""

from logprob.discrete.solvers.base import Solver

__all__ = ["Solver"]
