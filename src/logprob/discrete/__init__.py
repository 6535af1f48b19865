"""Any combinatorial solver as a layer: perturb, solve, and a gradient for what has none.

- the layer: :func:`differentiable`; the law behind it: :class:`PerturbAndMAP`
- gradients: :class:`AIMLE`, :class:`IMLE` with any step size, :class:`BlackBox`, :class:`StraightThroughIdentity`,
  :class:`PerturbedOptimizer`; for exact laws :class:`StraightThroughMarginals` (SIMPLE), :class:`ByPerturbation`
  and the score functions of :mod:`logprob.gradients`
- relaxations: :class:`SoftChoice`, :class:`MaxOfConcretes`, :class:`SoftSub`, :class:`SoftSubset`,
  :class:`BinaryEntropySubset`, :class:`SoftTree`
- exact laws: :class:`KSubset`, :class:`SpanningTrees`, :class:`Arborescences`
- noise: :class:`Gumbel`, :class:`SumOfGamma`, :class:`Normal`, :class:`Logistic`, :class:`SharedNoise`
- solvers: :mod:`logprob.discrete.solvers`
- models: latent variables for :class:`~logprob.distributions.LatentVariableModel`, :class:`StructuredModel`,
  :class:`SelectivePredictor`, :class:`RelationalModel`
- the decorators of the published code: :mod:`logprob.discrete.originals`
"""

from logprob.discrete import solvers
from logprob.discrete.adaptive_step import AdaptiveStep
from logprob.discrete.arborescences import Arborescences
from logprob.discrete.binary_entropy_subset import BinaryEntropySubset
from logprob.discrete.by_perturbation import ByPerturbation
from logprob.discrete.differentiable import DifferentiableSolver, differentiable
from logprob.discrete.fenchel_young import FenchelYoung
from logprob.discrete.free_scores import FreeSubset, FreeTree
from logprob.discrete.identity import StraightThroughIdentity
from logprob.discrete.implicit import AIMLE, IMLE, BlackBox
from logprob.discrete.k_subset import KSubset
from logprob.discrete.latents import PerturbedLatent, SpanningTreeLatent, SubsetLatent
from logprob.discrete.log_scores import OfLogScores
from logprob.discrete.noise import Gumbel, Logistic, Noise, Normal
from logprob.discrete.paper_step import PaperStep
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.perturbed import PerturbedOptimizer
from logprob.discrete.record import Diagnostics
from logprob.discrete.relational_model import RelationalModel
from logprob.discrete.relaxation import Relaxation
from logprob.discrete.selective_predictor import SelectivePredictor
from logprob.discrete.shared_noise import SharedNoise
from logprob.discrete.soft_choice import MaxOfConcretes, SoftChoice
from logprob.discrete.soft_sub import SoftSub
from logprob.discrete.soft_subset import SoftSubset
from logprob.discrete.soft_tree import SoftTree
from logprob.discrete.solvers import (
    Arborescence,
    Assignment,
    Chain,
    EdgePath,
    Flattened,
    FunctionSolver,
    GraphPath,
    GridPath,
    Hypercube,
    Knapsack,
    LinearProgram,
    OneOf,
    PythonSolver,
    Ranking,
    Solver,
    SpanningTree,
    TopK,
)
from logprob.discrete.spanning_trees import SpanningTrees
from logprob.discrete.steps import Fixed, Normalised, Sign, StepSize
from logprob.discrete.straight_through import StraightThroughMarginals
from logprob.discrete.structured_law import StructuredLaw
from logprob.discrete.structured_model import BernoulliCells, StructuredModel
from logprob.discrete.sum_of_gamma import SumOfGamma

__all__ = [
    "AIMLE",
    "IMLE",
    "AdaptiveStep",
    "Arborescence",
    "Arborescences",
    "Assignment",
    "BernoulliCells",
    "BinaryEntropySubset",
    "BlackBox",
    "ByPerturbation",
    "Chain",
    "Diagnostics",
    "DifferentiableSolver",
    "EdgePath",
    "FenchelYoung",
    "Fixed",
    "Flattened",
    "FreeSubset",
    "FreeTree",
    "FunctionSolver",
    "GraphPath",
    "GridPath",
    "Gumbel",
    "Hypercube",
    "KSubset",
    "Knapsack",
    "LinearProgram",
    "Logistic",
    "MaxOfConcretes",
    "Noise",
    "Normal",
    "Normalised",
    "OfLogScores",
    "OneOf",
    "PaperStep",
    "PerturbAndMAP",
    "PerturbedLatent",
    "PerturbedOptimizer",
    "PythonSolver",
    "Ranking",
    "RelationalModel",
    "Relaxation",
    "SelectivePredictor",
    "SharedNoise",
    "Sign",
    "SoftChoice",
    "SoftSub",
    "SoftSubset",
    "SoftTree",
    "Solver",
    "SpanningTree",
    "SpanningTreeLatent",
    "SpanningTrees",
    "StepSize",
    "StraightThroughIdentity",
    "StraightThroughMarginals",
    "StructuredLaw",
    "StructuredModel",
    "SubsetLatent",
    "SumOfGamma",
    "TopK",
    "differentiable",
    "solvers",
]
