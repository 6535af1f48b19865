"""Batched solvers of combinatorial problems, and adapters for any others.

- in torch, the same on every device: :class:`TopK`, :class:`OneOf`, :class:`Hypercube`, :class:`Ranking`,
  :class:`SpanningTree`, :class:`Arborescence`, :class:`GridPath`, :class:`GraphPath`, :class:`EdgePath`,
  :class:`Knapsack`, :class:`Chain`
- by SciPy, instance by instance: :class:`Assignment`, :class:`LinearProgram`
- of your own: :class:`FunctionSolver` for a function of a batch, :class:`PythonSolver` for a function of one instance
- of another shape: :class:`Flattened`; as a tree's edges: :func:`edges_of`, :func:`matrix_of`
"""

from logprob.discrete.solvers.arborescence import Arborescence
from logprob.discrete.solvers.assignment import Assignment
from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.chain import Chain
from logprob.discrete.solvers.flattened import Flattened
from logprob.discrete.solvers.function import FunctionSolver
from logprob.discrete.solvers.graph_path import EdgePath, GraphPath
from logprob.discrete.solvers.grid_path import GridPath
from logprob.discrete.solvers.hypercube import Hypercube
from logprob.discrete.solvers.knapsack import Knapsack
from logprob.discrete.solvers.linear_program import LinearProgram
from logprob.discrete.solvers.one_of import OneOf
from logprob.discrete.solvers.python import PythonSolver, SolverStatistics
from logprob.discrete.solvers.ranking import Ranking
from logprob.discrete.solvers.spanning_tree import SpanningTree, edges_of, matrix_of, vertices
from logprob.discrete.solvers.top_k import TopK, TopKWithTies

__all__ = [
    "Arborescence",
    "Assignment",
    "Chain",
    "EdgePath",
    "Flattened",
    "FunctionSolver",
    "GraphPath",
    "GridPath",
    "Hypercube",
    "Knapsack",
    "LinearProgram",
    "OneOf",
    "PythonSolver",
    "Ranking",
    "Solver",
    "SolverStatistics",
    "SpanningTree",
    "TopK",
    "TopKWithTies",
    "edges_of",
    "matrix_of",
    "vertices",
]
