"""Bounds of models with latent variables: against the reference, enumeration and each other."""

from __future__ import annotations

import math

import golden_simplex
import pytest
import torch

from logprob.distributions import GaussianLatent, LatentVariableModel
from logprob.gradients import LeaveOneOut, ScoreFunction, StraightThrough
from logprob.metrics import DiscreteBound, EvidenceBounds, RelaxedSamples, VanishingGradients
from logprob.nn import MLP
from logprob.objectives import Batch, Capacity, CapacityELBO, NegativeELBO, NegativeIWAE, divergence
from logprob.simplex import (
    ConcreteLatent,
    InvertibleGaussianLatent,
    PlanarLatent,
    StickBreakingLatent,
    TruncatedStickBreakingLatent,
)
from logprob.testing import check_objective

LATENTS = {
    "igr": lambda: InvertibleGaussianLatent(3, 4, temperature=0.5),
    "igr bounded": lambda: InvertibleGaussianLatent(3, 4, temperature=0.5, scale="bounded"),
    "planar": lambda: PlanarLatent(3, 4, temperature=0.5),
    "planar, flowed prior": lambda: PlanarLatent(3, 4, temperature=0.5, flowed="both"),
    "log sticks": lambda: StickBreakingLatent(3, 4, temperature=0.5),
    "sticks": lambda: StickBreakingLatent(3, 4, temperature=0.5, sticks="linear"),
    "truncated": lambda: TruncatedStickBreakingLatent(3, 8, temperature=0.5),
    "concrete": lambda: ConcreteLatent(3, 4, temperature=0.5),
    "bernoulli": lambda: ConcreteLatent(3, 2, temperature=0.5),
    "gaussian": lambda: GaussianLatent(3),
}
CLOSED = set(LATENTS) - {"planar", "concrete", "bernoulli"}
CATEGORICAL = {"igr", "igr bounded", "concrete", "bernoulli", "gaussian"}

pytestmark = pytest.mark.filterwarnings("ignore:.*of the samples keep all:UserWarning")


def rows(number=8, variables=6):
    return torch.bernoulli(torch.full((number, variables), 0.5))


def model_of(name):
    return LatentVariableModel(6, LATENTS[name](), MLP, MLP)


@pytest.mark.parametrize("name", LATENTS)
@pytest.mark.parametrize("kl", ["closed", "sampled", "sticking-the-landing", "categorical"])
def test_every_divergence_trains_or_is_refused(name, kl):
    offered = {"closed": CLOSED, "categorical": CATEGORICAL}.get(kl, set(LATENTS))
    if name in offered:
        check_objective(NegativeELBO(kl, samples=2), lambda: model_of(name), Batch(rows()))
    else:
        with pytest.raises(NotImplementedError):
            NegativeELBO(kl)(model_of(name), Batch(rows()))


@pytest.mark.parametrize("name", sorted(CLOSED))
def test_sampled_divergences_have_the_closed_one_as_their_mean(name):
    """5 standard errors of 20,000 samples. Of truncated sticks the closed one counts those that a sample forgets."""
    torch.manual_seed(1)
    latent = LATENTS[name]()
    q, p = latent.posterior(torch.randn(1, latent.inputs)), latent.prior()
    sampled = divergence("sampled", q, p, q.rsample((20_000,)))[:, 0]
    standard_error = sampled.std() / 20_000**0.5
    difference = sampled.mean() - divergence("closed", q, p)[0]
    assert difference < 5 * standard_error
    assert name == "truncated" or difference > -5 * standard_error


@pytest.mark.parametrize("name", ["igr", "planar, flowed prior", "log sticks", "concrete", "gaussian"])
def test_doubly_reparameterized_gradients_have_the_same_mean(name):
    """Gradient to the encoder's numbers, mean of 4,000 rows that are all alike: 5 standard errors of the difference."""
    model, x = model_of(name).double(), rows(1).double().expand(4000, -1)
    numbers = model.encode(x).detach().requires_grad_()
    model.encode = lambda _: numbers
    gradients = []
    for gradient in ("standard", "doubly-reparameterized"):
        value = NegativeIWAE(5, gradient)(model, Batch(x)).value * len(x)
        gradients.append(torch.autograd.grad(value, numbers)[0])
    difference = gradients[0] - gradients[1]
    assert (difference.mean(0).abs() <= 5 * difference.std(0) / len(x) ** 0.5).all()


def test_doubly_reparameterized_gradients_are_refused_where_they_are_biased():
    with pytest.raises(ValueError, match="PlanarLatent has learned numbers"):
        NegativeIWAE(5, "doubly-reparameterized")(model_of("planar"), Batch(rows()))


def test_doubly_reparameterized_gradients_leave_the_value_and_are_less_noisy():
    model, x = model_of("gaussian").double(), rows(1).double().expand(2000, -1)
    numbers = model.encode(x).detach().requires_grad_()
    model.encode = lambda _: numbers
    noise = {}
    for gradient in ("standard", "doubly-reparameterized"):
        torch.manual_seed(0)
        loss = NegativeIWAE(50, gradient)(model, Batch(x))
        noise[gradient] = torch.autograd.grad(loss.value, numbers)[0].var(0).sum()
        torch.testing.assert_close(loss.value.detach(), -loss.metrics["iwae"])
    assert noise["doubly-reparameterized"] < noise["standard"]


@pytest.mark.parametrize("gradient", [StraightThrough(), ScoreFunction(), LeaveOneOut()])
def test_one_hot_estimators_train_by_the_exact_divergence(gradient):
    objective = NegativeELBO("categorical", gradient, samples=2)
    check_objective(objective, lambda: model_of("igr"), Batch(rows()))
    with pytest.raises(ValueError, match="draws one-hot samples"):
        NegativeELBO("sampled", gradient)(model_of("igr"), Batch(rows()))


def test_a_score_function_takes_one_group():
    latents = [GaussianLatent(2), LATENTS["concrete"]()]
    joint = LatentVariableModel(6, latents, MLP, MLP)
    check_objective(NegativeELBO("categorical", ScoreFunction()), lambda: joint_of(latents), Batch(rows()))
    two = LatentVariableModel(6, [LATENTS["concrete"](), LATENTS["igr"]()], MLP, MLP)
    with pytest.raises(ValueError, match="takes one group"):
        NegativeELBO("categorical", ScoreFunction())(two, Batch(rows()))
    assert NegativeELBO(["closed", "categorical"], StraightThrough())(joint, Batch(rows())).value.isfinite()
    with pytest.raises(ValueError, match="one for each of 2 groups"):
        NegativeELBO(["closed"])(joint, Batch(rows()))


def joint_of(latents):
    return LatentVariableModel(6, latents, MLP, MLP)


def test_capacities_are_those_of_the_reference():
    golden = golden_simplex.load("objectives")
    capacity = Capacity(5.0, 25_000)
    for step, value in zip(golden["capacity_steps"].tolist(), golden["capacity_values"].tolist(), strict=True):
        assert capacity(int(step)) == pytest.approx(value, abs=1e-12)
    assert Capacity(5.0, 10, cap=2.0)(9) == 2.0
    assert [Capacity(5.0, 5)(step) for step in (0, 1, 4, 5, 10)] == [0.0, 1.25, 5.0, 5.0, 5.0]


class _Reference(CapacityELBO):
    """The objective at given terms."""

    def __init__(self, golden, distance):
        held = [Capacity(golden[f"capacity_{name}"].item(), 2) for name in ("continuous", "discrete")]
        super().__init__(held, gamma=golden["gamma"].item(), distance=distance)
        self.steps = 1
        kl = [golden["kl_continuous"], golden["kl_discrete"]]
        terms = type("Terms", (), {"log_likelihood": golden["bernoulli_log_prob"][:1], "divergences": kl})
        self.bound.terms = lambda model, x: terms


@pytest.mark.parametrize(("distance", "key"), [("rows", "per_example"), ("batch", "batch_mean")])
def test_joint_objectives_are_those_of_the_reference(distance, key):
    golden = golden_simplex.load("objectives")
    loss = _Reference(golden, distance)(None, Batch(golden["x_binary"])).value
    torch.testing.assert_close(loss, golden[f"jointvae_{key}"], rtol=1e-10, atol=1e-10)


def test_capacity_objectives_count_their_steps():
    model = joint_of([GaussianLatent(2), LATENTS["igr"]()])
    objective = CapacityELBO([Capacity(5.0, 3), Capacity(1.0, 3)], divide="pixels")
    held = [objective(model, Batch(rows())).metrics["capacity_0"].item() for _ in range(4)]
    assert held == [0.0, 2.5, 5.0, 5.0]
    with torch.no_grad():
        objective(model, Batch(rows()))
    again = CapacityELBO([Capacity(5.0, 3), Capacity(1.0, 3)])
    again.load_state_dict(objective.state_dict())
    assert again.steps == 4
    with pytest.raises(ValueError, match="expected 2 capacities, got 1"):
        CapacityELBO([Capacity(5.0, 3)])(model, Batch(rows()))


def test_bounds_of_the_discrete_model_rise_to_its_evidence():
    """Enumeration of 16 codes; 3 standard errors of 4,000 estimates for each number of samples."""
    torch.manual_seed(2)
    linear = lambda inputs, outputs: MLP(inputs, outputs, ())  # noqa: E731
    model = LatentVariableModel(12, ConcreteLatent(2, 4, temperature=0.5), linear, linear)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    x = rows(1, 12)
    evidence = _enumerated(model, x)
    means = []
    for samples in (1, 10, 100):
        bound = DiscreteBound(samples, batch_size=100_000)(model, Batch(x.expand(4000, -1)))
        assert bound["discrete_bound"] - 3 * bound["discrete_bound_se"] < evidence
        if means:
            assert bound["discrete_bound"] > means[-1] + 3 * bound["discrete_bound_se"]
        means.append(bound["discrete_bound"])
    assert evidence - means[-1] < 0.2


def _enumerated(model, x):
    codes = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    z = torch.nn.functional.one_hot(codes, 4).float().unsqueeze(1)  # (16, 1, 2, 4)
    with torch.no_grad():
        return (model.log_likelihood(x, [z]).logsumexp(0) - math.log(16)).item()


@pytest.mark.parametrize("name", LATENTS)
def test_metrics_take_every_family(name):
    model, batch = model_of(name), Batch(rows())
    numbers = dict(DiscreteBound(samples=10, proposal_draws=20)(model, batch))
    numbers |= EvidenceBounds(("closed", "sampled", "categorical"))(model, batch)
    assert ("elbo_closed" in numbers) == (name in CLOSED)
    assert ("elbo_categorical" in numbers) == (name in CATEGORICAL)
    if name != "gaussian":
        numbers |= RelaxedSamples()(model, batch)
        assert 1 <= numbers["categories_used"] <= model.priors()[0].event_shape[0]
    assert all(math.isfinite(number) for number in numbers.values())


def test_a_proposal_by_frequencies_gives_a_valid_bound():
    """The prior is known exactly, the proposal only sampled: the bound stays below the evidence."""
    torch.manual_seed(2)
    linear = lambda inputs, outputs: MLP(inputs, outputs, ())  # noqa: E731
    model = LatentVariableModel(12, ConcreteLatent(2, 4, temperature=0.5), linear, linear)
    x = rows(1, 12)
    evidence = _enumerated(model, x)
    q = model.posteriors(x)[0]
    model.posteriors = lambda value: [_Hidden(q.expand((len(value), 2)))]
    bound = DiscreteBound(10, proposal_draws=20, batch_size=10)(model, Batch(x.expand(2000, -1)))
    assert bound["discrete_bound"] - 3 * bound["discrete_bound_se"] < evidence
    assert evidence - bound["discrete_bound"] < 0.3


class _Hidden:
    """A law whose category probabilities are not told."""

    def __init__(self, q):
        self.q, self.batch_shape, self.event_shape = q, q.batch_shape, q.event_shape
        self.rsample, self.to_categorical = q.rsample, None

    @property
    def logits(self):
        from logprob.distributions import IntractableError

        raise IntractableError("not told")


def test_gradients_vanish_where_the_temperature_is_too_low():
    hot, cold = (
        LatentVariableModel(6, ConcreteLatent(3, 4, temperature=temperature), MLP, MLP) for temperature in (1.0, 1e-3)
    )
    assert VanishingGradients()(hot, Batch(rows()))["vanishing_gradients"] == 0
    assert VanishingGradients()(cold, Batch(rows()))["vanishing_gradients"] > 0.5


def test_models_without_latent_variables_are_refused():
    for objective in (NegativeELBO(), NegativeIWAE(), CapacityELBO([])):
        with pytest.raises(TypeError, match="no posteriors"):
            objective(MLP(3, 3), Batch(rows()))
    for metric in (DiscreteBound(), EvidenceBounds(), RelaxedSamples(), VanishingGradients()):
        with pytest.raises(TypeError, match="no posteriors"):
            metric(MLP(3, 3), Batch(rows()))
    for metric in (DiscreteBound(), EvidenceBounds(), RelaxedSamples(), VanishingGradients()):
        with pytest.raises(ValueError, match="at least one row"):
            metric(model_of("igr"), Batch(rows(0)))
    for metric in (RelaxedSamples(), VanishingGradients()):
        with pytest.raises(ValueError, match="no latent variables with categories"):
            metric(model_of("gaussian"), Batch(rows()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: NegativeELBO("exact"),
        lambda: NegativeELBO(samples=0),
        lambda: NegativeIWAE(0),
        lambda: NegativeIWAE(1, "other"),
        lambda: Capacity(-1.0, 5),
        lambda: Capacity(1.0, 1),
        lambda: CapacityELBO([], gamma=-1.0),
        lambda: CapacityELBO([], distance="mean"),
        lambda: DiscreteBound(0),
        lambda: EvidenceBounds(("exact",)),
        lambda: InvertibleGaussianLatent(3, 1, 0.5),
        lambda: ConcreteLatent(3, 4, -0.5),
        lambda: StickBreakingLatent(0, 4, 0.5),
        lambda: PlanarLatent(3, 4, 0.5, flowed="prior"),
        lambda: StickBreakingLatent(3, 4, 0.5, sticks="none"),
        lambda: InvertibleGaussianLatent(3, 4, 0.5, prior="free"),
    ],
)
def test_bad_arguments_are_refused(make):
    with pytest.raises(ValueError, match=r"got|expected"):
        make()


@pytest.mark.parametrize("name", sorted(set(LATENTS) - {"gaussian"}))
def test_learned_priors_take_a_gradient(name):
    latent = LATENTS[name]()
    learned = type(latent)(3, 8 if name == "truncated" else 2 if name == "bernoulli" else 4, 0.5, prior="learned")
    model = LatentVariableModel(6, learned, MLP, MLP)
    NegativeELBO("sampled")(model, Batch(rows())).value.backward()
    gradients = [p.grad for n, p in model.named_parameters() if "prior_numbers" in n]
    assert gradients
    assert all(g is not None and (g != 0).any() for g in gradients)
