"""Every law of the room keeps the contracts of :mod:`logprob.testing` and of ``torch.distributions``."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.distributions import Independent, constraints

from logprob.distributions import DistributionModule
from logprob.gradients import Reparameterized
from logprob.simplex.concrete import Concrete, ExpConcrete
from logprob.simplex.invertible_gaussian import InvertibleGaussian
from logprob.simplex.planar import Planar
from logprob.simplex.stick_breaking import LogStickBreaking, StickBreaking
from logprob.testing import check_distribution
from logprob.transforms import Affine

CATEGORIES = 4


class _Numbers(DistributionModule):
    def __init__(self, **shapes):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(0.5 * torch.randn(shape, generator=generator)))


class Gaussian(_Numbers):
    """An InvertibleGaussian of which everything is learned; it reaches the whole simplex."""

    def __init__(self):
        super().__init__(loc=CATEGORIES - 1, log_scale=CATEGORIES - 1, log_temperature=(), log_delta=())

    def transform(self):
        return None

    def forward(self, context=None):
        settings = self.log_temperature.exp(), self.log_delta.exp()
        return InvertibleGaussian(self.loc, self.log_scale, *settings, self.transform(), validate_args=False)


class AffineGaussian(Gaussian):
    def __init__(self):
        super().__init__()
        self.map = Affine(torch.ones(CATEGORIES - 1), torch.full((CATEGORIES - 1,), 2.0))

    def transform(self):
        return self.map


class Sticks(Gaussian):
    def transform(self):
        return StickBreaking()


class LogSticks(Gaussian):
    def transform(self):
        return LogStickBreaking()


class PlanarGaussian(_Numbers):
    def __init__(self):
        size = CATEGORIES - 1
        super().__init__(loc=size, log_scale=size, w=(2, size), u=(2, size), b=(2,))

    def forward(self, context=None):
        layers = Planar(self.w, self.u, self.b)
        return InvertibleGaussian(self.loc, self.log_scale, 0.8, transform=layers, validate_args=False)


class ConcreteModule(_Numbers):
    def __init__(self):
        super().__init__(logits=CATEGORIES, log_temperature=())

    def forward(self, context=None):
        return Concrete(self.log_temperature.exp(), self.logits, validate_args=False)


class ExpConcreteModule(ConcreteModule):
    def forward(self, context=None):
        return ExpConcrete(self.log_temperature.exp(), self.logits, validate_args=False)


MODULES = {
    "Gaussian": Gaussian,
    "affine Gaussian": AffineGaussian,
    "sticks": Sticks,
    "log sticks": LogSticks,
    "planar": PlanarGaussian,
    "Concrete": ConcreteModule,
    "ExpConcrete": ExpConcreteModule,
}
members = pytest.mark.parametrize("name", MODULES)


@members
def test_the_contract_of_distributions(name):
    make = MODULES[name]
    torch.manual_seed(1)
    with torch.no_grad():
        value = make()().sample((7,))
    check_distribution(make, value)


@members
def test_torch_conventions(name):
    law = MODULES[name]()()
    assert (law.event_shape, law.batch_shape, law.has_rsample) == ((CATEGORIES,), (), True)
    wide = law.expand((2, 3))
    value = wide.rsample((5,))
    assert value.shape == (5, 2, 3, CATEGORIES)
    assert wide.log_prob(value).shape == (5, 2, 3)
    assert Independent(wide, 1).log_prob(value).shape == (5, 2)
    assert wide.expand((4, 2, 3)).batch_shape == (4, 2, 3)
    assert type(law).__name__ in repr(law)
    assert law.log_partition == 0
    assert law.support.check(value).all()
    if not isinstance(law, ExpConcrete):
        assert constraints.simplex.check(value).all()


@members
def test_copies_after_a_draw(name):
    """The sample that a law remembers is not copied: it would carry a graph."""
    law = MODULES[name]()().expand((3,))
    with torch.no_grad():
        law = law.with_parameters(*(part.detach() for part in law.parameters())) if name == "Concrete" else law
    value = law.sample()
    for other in (pickle.loads(pickle.dumps(law)), copy.copy(law)):
        torch.testing.assert_close(other.log_prob(value.clone()), law.log_prob(value.clone()))
    detached = copy.deepcopy(Gaussian().requires_grad_(False)())
    detached.rsample()
    assert copy.deepcopy(detached)._drawn is None


@members
def test_new_parameters_make_a_law_of_the_same_kind(name):
    law = MODULES[name]()()
    moved = law.with_parameters(*(part.expand(6, *part.shape) + 0.1 for part in law.parameters()))
    assert type(moved) is type(law)
    assert moved.batch_shape == (6,)
    assert moved.temperature is law.temperature
    same = law.with_parameters(*law.parameters())
    value = law.sample()
    torch.testing.assert_close(same.log_prob(value.clone()), law.log_prob(value.clone()))


@members
def test_under_vmap(name):
    """Rows one by one give what the batch gives, and so do their gradients."""
    module = MODULES[name]()
    parameters = {key: value.detach() for key, value in module.named_parameters()}
    rows = {key: value + 0.1 * torch.randn(5, *value.shape) for key, value in parameters.items()}
    with torch.no_grad():
        value = module().sample()

    def density(numbers):
        return torch.func.functional_call(module, numbers, ()).log_prob(value)

    got = torch.func.vmap(torch.func.grad_and_value(density))(rows)
    for i in range(5):
        expected = torch.func.grad_and_value(density)({key: value[i] for key, value in rows.items()})
        torch.testing.assert_close(got[1][i], expected[1], rtol=1e-4, atol=1e-4)
        for key in rows:
            torch.testing.assert_close(got[0][key][i], expected[0][key], rtol=1e-3, atol=1e-3)

    def drawn(numbers):
        law = torch.func.functional_call(module, numbers, ())
        z = law.rsample()
        return law.log_prob(z)

    draws = torch.func.vmap(torch.func.grad_and_value(drawn), randomness="different")(rows)
    assert draws[1].isfinite().all()
    assert all(gradient.isfinite().all() for gradient in draws[0].values())


@pytest.mark.parametrize("name", ["Gaussian", "affine Gaussian", "Concrete"])
def test_sample_and_density_compile_as_one_graph(name):
    module = MODULES[name]()
    names, numbers = zip(*((key, p.detach().requires_grad_()) for key, p in module.named_parameters()), strict=True)
    torch.compiler.reset()

    def step(*numbers):
        law = torch.func.functional_call(module, dict(zip(names, numbers, strict=True)), ())
        z = law.rsample((3,))
        return law.log_prob(z).sum() + z.square().sum()

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    torch.manual_seed(0)
    got = compiled(*numbers)
    got.backward()
    torch.manual_seed(0)
    expected = step(*numbers)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert all(number.grad.isfinite().all() for number in numbers)


@members
def test_relaxed_gradients_reach_the_parameters(name):
    module = MODULES[name]()
    Reparameterized()(module().expand((3,)), lambda z: z.square().sum((-1, -2)), (4,)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
