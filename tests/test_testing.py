"""The shipped checks pass what is right and name what is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.distributions import constraints

from logprob.discrete.solvers import Solver
from logprob.distributions import DistributionModule, IntractableError, UnnormalizedDistribution
from logprob.objectives import Batch, Loss, NegativeLogLikelihood
from logprob.testing import check_distribution, check_objective, check_solver, check_transform
from logprob.transforms import Affine


class NormalDistribution(UnnormalizedDistribution):
    support = constraints.real_vector

    def __init__(self, loc, factor=1.0):
        self.loc, self.factor = loc, factor
        super().__init__(torch.Size(), loc.shape, validate_args=False)

    def unnormalized_log_prob(self, value):
        return -self.factor * (value - self.loc).square().sum(-1) / 2

    @property
    def log_partition(self):
        return self.loc.new_tensor(2 * torch.pi).log() * self.loc.numel() / 2

    def expand(self, batch_shape, _instance=None):
        new = NormalDistribution(self.loc, self.factor)
        new._batch_shape = torch.Size(batch_shape)
        return new

    def rsample(self, sample_shape=()):
        return self.loc + torch.randn(*sample_shape, *self.batch_shape, *self.event_shape, dtype=self.loc.dtype)


class Normal(DistributionModule):
    def __init__(self, factor=1.0):
        super().__init__()
        self.loc = nn.Parameter(torch.randn(1))
        self.factor = factor

    def forward(self, context=None):
        return NormalDistribution(self.loc.clone(), self.factor)


class Forgetful(Normal):
    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(2))


NODES = torch.linspace(-15, 15, 3001, dtype=torch.float64)[:, None]
WEIGHTS = torch.full((3001,), 0.01, dtype=torch.float64)


def test_accepts_a_sound_distribution():
    check_distribution(Normal, torch.randn(5, 1), nodes=NODES, node_weights=WEIGHTS)


@pytest.mark.parametrize(("make", "clause"), [(lambda: Normal(factor=2.0), "mass 1"), (Forgetful, "'unused'")])
def test_names_the_broken_clause(make, clause):
    with pytest.raises(AssertionError, match=clause):
        check_distribution(make, torch.randn(5, 1), nodes=NODES, node_weights=WEIGHTS)


def test_unnormalised_distribution_defaults():
    p = Normal()()
    torch.testing.assert_close(p.score(torch.ones(3, 1)), p.loc.detach() - torch.ones(3, 1))
    bare = UnnormalizedDistribution(validate_args=False)
    for ask in (lambda: bare.log_partition, bare.rsample, bare.sample):
        with pytest.raises(IntractableError, match="UnnormalizedDistribution"):
            ask()


def test_affine():
    transform = Affine(torch.randn(3).double(), torch.tensor([0.5, -2.0, 3.0]).double())
    check_transform(transform, torch.randn(4, 3).double())
    assert transform != Affine(torch.zeros(3).double(), transform.scale)
    with pytest.raises(ValueError, match="constant columns"):
        Affine(torch.zeros(2), torch.tensor([1.0, 0.0]))


def test_check_transform_catches_a_wrong_determinant():
    class Wrong(Affine):
        def call_and_ladj(self, x):
            y, ladj = super().call_and_ladj(x)
            return y, -ladj

    with pytest.raises(AssertionError, match="Jacobian"):
        check_transform(Wrong(torch.zeros(2), torch.tensor([2.0, 3.0])), torch.randn(4, 2))


def test_objective():
    batch = Batch(torch.randn(6, 1))
    check_objective(NegativeLogLikelihood(), Normal, batch)

    def vector(model, batch):
        return Loss(-model().log_prob(batch.x))

    with pytest.raises(AssertionError, match="scalar"):
        check_objective(vector, Normal, batch)


class Energy(DistributionModule):
    """A normaliser that is not known."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.randn(2))

    def forward(self, context=None):
        return EnergyDistribution(self.loc.clone())


class EnergyDistribution(NormalDistribution):
    log_partition = UnnormalizedDistribution.log_partition

    def expand(self, batch_shape, _instance=None):
        new = EnergyDistribution(self.loc)
        new._batch_shape = torch.Size(batch_shape)
        return new


class Stale(Normal):
    """Keeps the first normaliser that it computed."""

    def forward(self, context=None):
        if not hasattr(self, "kept"):
            self.kept = self.loc.detach().square().sum()
        p = super().forward()
        p.unnormalized_log_prob = lambda value: NormalDistribution.unnormalized_log_prob(p, value) + self.kept
        return p


def test_intractable_distributions_are_checked_by_what_they_have():
    check_distribution(Energy, torch.randn(5, 2))


def test_a_stale_cache_is_found():
    from logprob import testing

    with pytest.raises(AssertionError, match="after a change of its parameters"):
        testing._check_fresh(Stale, Stale(), torch.randn(5, 1), None)


class Conditional(DistributionModule):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, context=None):
        return torch.distributions.Normal(self.linear(context).squeeze(-1), 1.0)


def test_conditional_module():
    check_distribution(Conditional, torch.randn(5), context=torch.randn(5, 2))


@dataclass(frozen=True)
class Faulty(Solver):
    """One of n, with a fault."""

    fault: str = ""

    def __call__(self, scores, **_):
        z = torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)
        match self.fault:
            case "shape":
                return z.unsqueeze(0)
            case "gradient":
                return z + 0 * scores
            case "binary":
                return 2 * z
            case "NaN":
                return z * torch.nan
            case "in place":
                scores.data.zero_()
            case "batch":
                return z.roll(int(scores.sum() > 0), -1) if scores.dim() > 1 else z
            case "type":
                return z.float()
            case "worst":
                return torch.nn.functional.one_hot(scores.argmin(-1), scores.shape[-1]).to(scores.dtype)
            case "looking":
                return z if (scores > 0).any() else z.clone()
        return z

    def states(self, event_shape):
        return torch.eye(event_shape[-1])


SCORES = torch.tensor([[0.5, 1.0, -1.0], [2.0, 2.0, 0.0], [0.0, 0.0, 3.0]])


def test_accepts_a_sound_solver():
    check_solver(Faulty(), SCORES)


@pytest.mark.parametrize(
    ("fault", "clause"),
    [
        ("shape", "answers must have shape"),
        ("gradient", "without gradient"),
        ("binary", "must be 0 or 1"),
        ("NaN", "finite"),
        ("in place", "must not change"),
        ("batch", "must not depend on the others"),
        ("type", "must be torch.float64"),
        ("worst", "optimal"),
    ],
)
def test_names_the_fault_of_a_solver(fault, clause):
    with pytest.raises(AssertionError, match=clause):
        check_solver(Faulty(fault), SCORES)


def test_a_solver_that_looks_at_values_cannot_be_mapped():
    with pytest.raises(RuntimeError, match="data-dependent"):
        check_solver(Faulty("looking"), SCORES)
