"""What a user may get wrong, or half right: types, shapes, precision, and other groups beside."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributions import RelaxedOneHotCategorical

from logprob.distributions import GaussianLatent, LatentVariableModel
from logprob.gradients import (
    DisARM,
    Enumeration,
    LeaveOneOut,
    Reparameterized,
    ScoreFunction,
    StraightThrough,
    StraightThroughRelaxed,
)
from logprob.objectives import Batch, NegativeELBO
from logprob.simplex import (
    REBAR,
    RELAX,
    Concrete,
    ConcreteLatent,
    ControlNetwork,
    Entmax,
    GumbelRao,
    InvertibleGaussian,
    InvertibleGaussianLatent,
    ReinMax,
    StickBreakingGaussian,
    entmax,
)

INTEGERS = torch.tensor([0, 1])


@pytest.mark.parametrize(
    "make",
    [
        lambda: InvertibleGaussian(INTEGERS, 0.5, 0.5),
        lambda: InvertibleGaussian(INTEGERS, scale=0.5),
        lambda: InvertibleGaussian.from_probs(torch.tensor([1, 0, 0])),
        lambda: Concrete(0.5, INTEGERS),
        lambda: Concrete(0.5, probs=INTEGERS),
        lambda: StickBreakingGaussian(INTEGERS, 0.5, 0.5),
    ],
)
def test_integers_are_no_parameters(make):
    with pytest.raises(TypeError, match=r"floating type, got torch\.int64"):
        make()


def test_scales_out_of_reach_are_refused():
    for log_scale in (1000.0, -1000.0):
        with pytest.raises(ValueError, match="exp"):
            InvertibleGaussian(torch.zeros(3), log_scale, validate_args=True)


@pytest.mark.parametrize(
    "law",
    [
        InvertibleGaussian(torch.zeros(3), 0.0, 0.5),
        Concrete(0.5, torch.zeros(4)),
        StickBreakingGaussian(torch.zeros(3), 0.0, 0.5),
    ],
)
def test_other_numbers_of_categories_are_refused(law):
    few = torch.tensor([0.5, 0.5])
    logarithmic = getattr(law, "log_prob_log", None) or law.log_prob_of_ratios
    for call in (lambda: law.log_prob(few), lambda: logarithmic(few.log())):
        with pytest.raises(ValueError, match=r"\(\.\.\., 4\), got \(2,\)"):
            call()


def test_ratios_need_laws_that_compare():
    q = InvertibleGaussian(torch.zeros(3), 0.0, 0.5)
    value = q.rsample()
    with pytest.raises(ValueError, match="4 categories, got one over 5"):
        q.log_ratio(InvertibleGaussian(torch.zeros(4), 0.0, 0.5), value)
    with pytest.raises(TypeError, match="RelaxedOneHotCategorical has no log_prob_of_ratios"):
        q.log_ratio(RelaxedOneHotCategorical(torch.tensor(0.5), torch.ones(4)), value)


ESTIMATORS = {
    "reparameterized": Reparameterized,
    "straight-through": StraightThrough,
    "relaxed": StraightThroughRelaxed,
    "decoupled": lambda: StraightThroughRelaxed(0.3),
    "Gumbel-Rao": lambda: GumbelRao(3),
    "ReinMax": ReinMax,
    "score": ScoreFunction,
    "leave-one-out": LeaveOneOut,
    "DisARM": DisARM,
    "REBAR": REBAR,
    "RELAX": lambda: RELAX(ControlNetwork(2, 2)),
    "enumeration": Enumeration,
    "entmax": Entmax,
}


@pytest.mark.parametrize("latent", [ConcreteLatent, InvertibleGaussianLatent])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_work_in_half_precision(name, latent):
    model = LatentVariableModel(6, latent(2, 2, temperature=0.5), nn.Linear, nn.Linear).bfloat16()
    objective = NegativeELBO("categorical", ESTIMATORS[name](), samples=2)
    loss = objective(model, Batch(torch.bernoulli(torch.full((4, 6), 0.5)))).value
    loss.backward()
    assert loss.dtype in (torch.bfloat16, torch.float32)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_half_precision_does_not_tilt_the_categories():
    """A standard error is 0.002; rounded relaxed samples share their largest entry and favour the first."""
    q = Concrete(100.0, torch.zeros(10, dtype=torch.bfloat16))
    for draws in (StraightThroughRelaxed().rsample(q, (20_000,)), q.straight_through((20_000,))):
        assert draws.dtype == torch.bfloat16
        assert (draws.float().mean(0) - 0.1).abs().max() < 0.01


def test_what_is_cut_off_leaves_the_temperature_its_gradient():
    temperature = torch.tensor(0.5, requires_grad=True)
    q = StickBreakingGaussian(torch.zeros(5, 9), 0.0, temperature)
    (StraightThroughRelaxed().rsample(q) * torch.randn(10)).sum().backward()
    assert temperature.grad.isfinite()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_points_are_checked_in_every_precision(dtype):
    q = Concrete(0.5, torch.zeros(20, dtype=dtype), validate_args=True)
    q.log_prob(q.rsample((100,)).clone())
    with pytest.raises(ValueError, match="points of the simplex"):
        q.log_prob(torch.full((20,), 0.075, dtype=dtype))


def test_locations_broadcast_with_scales_and_temperatures():
    probs = torch.tensor([0.2, 0.5, 0.3])
    for law in (
        InvertibleGaussian.from_probs(probs, torch.rand(4, 2) + 0.5),
        InvertibleGaussian.from_probs(probs, 1.0, torch.rand(4) + 0.5, delta=2.0),
    ):
        assert law.batch_shape == (4,)
        torch.testing.assert_close(law.probs, probs.expand(4, 3), rtol=0, atol=1e-5)


def test_enumeration_stands_beside_other_groups():
    torch.manual_seed(0)
    latents = [GaussianLatent(1), ConcreteLatent(2, 3, 0.5)]
    model = LatentVariableModel(6, latents, nn.Linear, nn.Linear)
    loss = NegativeELBO("categorical", Enumeration(), samples=2)(model, Batch(torch.zeros(4, 6)))
    loss.value.backward()
    assert model.encoder.weight.grad.isfinite().all()


def test_entmax_goes_through_function_transforms():
    x = torch.randn(5, 4)
    torch.testing.assert_close(torch.func.vmap(entmax)(x), entmax(x))
    assert torch.func.jacrev(entmax)(x[0]).shape == (4, 4)


def test_uniform_laws_are_compiled():
    torch.compiler.reset()
    compiled = torch.compile(lambda x: InvertibleGaussian.uniform(4, temperature=0.5).loc + x, backend="aot_eager")
    x = torch.zeros(3)
    torch.testing.assert_close(compiled(x), InvertibleGaussian.uniform(4, temperature=0.5).loc)


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"DisARM", "RELAX"}))
def test_functions_give_a_number_a_sample(name):
    q = Concrete(0.5, torch.zeros(3, 4, requires_grad=True))
    with pytest.raises(ValueError, match="one number for each sample"):
        ESTIMATORS[name]()(q, lambda z: z.sum(), (5,))
