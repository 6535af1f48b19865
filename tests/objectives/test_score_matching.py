"""Score matching on problems whose answer is known, and the errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from logprob.batch import Batch
from logprob.distributions.score_matching import denoising_losses, zero_energy_loss
from logprob.energy import ConditionalEnergy, ScoreNetwork, UnconditionalEnergy
from logprob.metrics import HeldOutScoreMatching
from logprob.nn import MLP, BatchNormMLP, StackedMLP, take_copy
from logprob.objectives import DenoisingScoreMatching, SlicedScoreMatching
from logprob.testing import check_objective

SIGMA = 0.3


class Quadratic(nn.Module):
    """``-1/2 x^T P x`` with a free symmetric P."""

    def __init__(self, variables):
        super().__init__()
        self.free = nn.Parameter(torch.zeros(variables, variables))

    @property
    def precision(self):
        return (self.free + self.free.T) / 2

    def forward(self, x):
        return -((x @ self.precision) * x).sum(-1, keepdim=True) / 2


def gaussian(n=20_000, d=3):
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(d, d, generator=generator, dtype=torch.float64)
    root = root / 2 + torch.eye(d)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64) @ root.T
    return x, x.T @ x / n  # of the rows: what is learned is theirs


def train(model, objective, x, steps, context=None, rate=0.03):
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        index = torch.randint(len(x), (512,))
        optimizer.zero_grad()
        objective(model, Batch(x, context).rows(index)).value.backward()
        optimizer.step()
        schedule.step()
    return model


def frobenius(got, expected):
    return ((got - expected).norm() / expected.norm()).item()


def test_denoising_learns_the_precision_of_smoothed_data():
    x, covariance = gaussian()
    network = Quadratic(3).double()
    model = train(UnconditionalEnergy(network), DenoisingScoreMatching(SIGMA), x, 1500)
    expected = torch.linalg.inv(covariance + SIGMA**2 * torch.eye(3))
    assert frobenius(network.precision.detach(), expected) < 0.03
    u = model().unnormalized_log_prob(torch.stack([torch.zeros(3).double(), torch.ones(3).double()]))
    assert u[0] > u[1]  # more probable at the mode
    held_out = HeldOutScoreMatching(SIGMA)(model, Batch(x[:1000]))
    assert held_out["dsm_ratio"] < 1
    # 1/2 E ||sigma^2 grad u + v||^2 at the minimum: sigma^4 / 2 (tr(1) / sigma^2 - tr(P))
    best = SIGMA**4 / 2 * (3 / SIGMA**2 - expected.trace().item())
    assert held_out["dsm"] == pytest.approx(best, rel=0.1)


def test_sliced_learns_the_precision_of_the_data():
    x, covariance = gaussian()
    for objective in (SlicedScoreMatching(), SlicedScoreMatching(2, analytic_variance=False, law="rademacher")):
        network = Quadratic(3).double()
        train(UnconditionalEnergy(network), objective, x, 400)
        assert frobenius(network.precision.detach(), torch.linalg.inv(covariance)) < 0.05


@pytest.mark.parametrize("analytic_variance", [True, False])
@pytest.mark.parametrize("law", ["normal", "rademacher"])
def test_sliced_value_is_that_of_hyvarinen(analytic_variance, law):
    """``tr(hessian u) + 1/2 ||grad u||^2`` by autograd, in the mean over directions."""
    torch.manual_seed(0)
    model = UnconditionalEnergy(MLP(3, 2, (16,), "tanh").double())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    x = torch.randn(1, 3).double()

    def u(row):
        return model().unnormalized_log_prob(row[None])[0]

    hessian = torch.autograd.functional.hessian(u, x[0])
    exact = hessian.trace() + model().score(x).detach().square().sum() / 2
    objective = SlicedScoreMatching(1, analytic_variance, law)
    losses = objective.losses(model, Batch(x.expand(200_000, 3)))
    error = losses.std().item() / math.sqrt(len(losses))
    assert abs(losses.mean().item() - exact.item()) < 4 * error + 1e-9  # false alarm once in 16,000


def test_score_networks_learn_the_same():
    x, covariance = gaussian()
    network = nn.Linear(3, 3, bias=False).double()
    train(ScoreNetwork(network), DenoisingScoreMatching(SIGMA, sigma_power=0), x, 800)
    expected = -torch.linalg.inv(covariance + SIGMA**2 * torch.eye(3))
    assert frobenius(network.weight.detach(), expected) < 0.05


def test_conditional_denoising_learns_each_condition():
    """f = (x, x^2): mean and variance of each label, smoothed."""
    generator = torch.Generator().manual_seed(0)
    mean, sd = torch.tensor([-1.0, 0.0, 2.0]).double(), torch.tensor([0.5, 1.0, 0.7]).double()
    y = torch.randint(3, (20_000,), generator=generator)
    x = (mean[y] + sd[y] * torch.randn(20_000, generator=generator, dtype=torch.float64))[:, None]
    model = ConditionalEnergy(nn.Identity(), 3, 1, squares="free").double()
    train(model, DenoisingScoreMatching(SIGMA), x, 1500, y, rate=0.1)
    for label in range(3):
        rows = x[y == label]
        precision = 1 / (rows.var() + SIGMA**2)
        assert frobenius(-2 * model.square_labels[label].detach(), precision[None]) < 0.05
        assert (model.labels[label].detach() / precision - rows.mean()).abs() < 0.05


def test_value_of_nothing_learned():
    """A zero score has half the noise's square: ``d sigma^2 / 2``; .0014 of an image of 28 x 28 as published."""
    torch.manual_seed(0)
    silent = UnconditionalEnergy(_Silent())
    x = torch.zeros(4000, 784)
    own = DenoisingScoreMatching(0.01)(silent, Batch(x))
    paper = DenoisingScoreMatching(0.01, "paper", image_shape=(1, 28, 28))(silent, Batch(x))
    assert own.value.item() == pytest.approx(784 * 1e-4 / 2, rel=0.01)
    assert paper.value.item() == pytest.approx(1.4e-3, rel=0.01)
    assert own.metrics["dsm_paper"].item() == pytest.approx(784 * 1e-4 / 2, rel=0.01)  # a vector: one axis
    assert paper.metrics["dsm_paper"] == paper.value
    assert zero_energy_loss((784,), 0.01, "sample") == pytest.approx(784 * 1e-4 / 2)
    assert zero_energy_loss((3, 32, 32), 0.01) == pytest.approx(1.6e-3)
    assert zero_energy_loss((3, 32, 32), 0.01, "sample", 2) == pytest.approx(3 * 32 * 32 / 2)
    metric = HeldOutScoreMatching(0.01, (1, 28, 28))(silent, Batch(x[:100]))
    assert metric["dsm_ratio"] == pytest.approx(1)
    assert metric["dsm_paper"] == pytest.approx(metric["dsm_zero_paper"])
    assert metric["dsm_paper"] == pytest.approx(1.4e-3, rel=0.02)


class _Silent(nn.Module):
    def forward(self, x):
        return 0 * x


@pytest.mark.parametrize("reduction", ["sample", "paper"])
@pytest.mark.parametrize("sigma_power", [0, 2, 4])
def test_scales_differ_by_powers_of_sigma(reduction, sigma_power):
    model, x = UnconditionalEnergy(MLP(24, 2, (8,), "tanh").double()), torch.randn(7, 24).double()
    objective = DenoisingScoreMatching(SIGMA, reduction, sigma_power, image_shape=(2, 3, 4))
    torch.manual_seed(0)
    value = objective(model, Batch(x)).value
    torch.manual_seed(0)
    noise = SIGMA * torch.randn_like(x)
    residual = model().score(x + noise) + noise / SIGMA**2
    expected = residual.square().sum(-1).mean() / 2 * SIGMA**sigma_power
    torch.testing.assert_close(value, expected / (6 if reduction == "paper" else 1))
    images = denoising_losses(_Images(model), x.unflatten(1, (2, 3, 4)), noise.unflatten(1, (2, 3, 4)), SIGMA)
    torch.testing.assert_close(images, denoising_losses(model(), x, noise, SIGMA))


class _Images:
    """A law of images that are not flattened."""

    def __init__(self, model):
        self.model = model

    def score(self, x):
        return self.model().score(x.flatten(1)).unflatten(1, (2, 3, 4))


OBJECTIVES = {
    "denoising": DenoisingScoreMatching(SIGMA),
    "published": DenoisingScoreMatching(SIGMA, "paper"),
    "sliced": SlicedScoreMatching(),
    "sliced twice": SlicedScoreMatching(2, analytic_variance=False),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_contract_of_objectives(name):
    x, y = torch.randn(12, 4), torch.arange(12) % 3
    make = {
        "conditional": lambda: ConditionalEnergy(_Smooth(), 3, 4, squares="free"),
        "unconditional": lambda: UnconditionalEnergy(_Smooth()),
    }
    for energy in make.values():
        check_objective(OBJECTIVES[name], energy, Batch(x, y))
    assert not x.requires_grad
    assert x.grad is None


class _Smooth(nn.Module):
    """No bias at the end, which no score would reach."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4, bias=False))

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_copies_train_as_each_alone(name):
    network = StackedMLP(4, 2, (6,), "tanh", copies=3)
    many = ConditionalEnergy(network, 3, 2, squares="free", copies=3).double()
    batch = Batch(torch.randn(9, 4).double(), torch.arange(9) % 3)
    torch.manual_seed(0)
    together = OBJECTIVES[name](many, batch)
    together.value.backward()
    values = []
    for index in range(3):
        one = take_copy(many, index)
        torch.manual_seed(0)
        loss = OBJECTIVES[name](one, batch)
        loss.value.backward()
        values.append(loss.value.detach())
        torch.testing.assert_close(many.labels.grad[index], one.labels.grad)
        torch.testing.assert_close(many.square_labels.grad[index], one.square_labels.grad)
        torch.testing.assert_close(many.network[0].weight.grad[index], one.network[0].weight.grad)
    torch.testing.assert_close(together.value.detach(), sum(values))
    metric = together.metrics["ssm" if "sliced" in name else "dsm"]
    torch.testing.assert_close(metric, sum(values) / 3)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_without_gradients_the_value_is_the_same(name):
    model, batch = UnconditionalEnergy(MLP(4, 2, (6,), "tanh")), Batch(torch.randn(9, 4))
    torch.manual_seed(0)
    expected = OBJECTIVES[name](model, batch).value
    torch.manual_seed(0)
    with torch.no_grad():
        value = OBJECTIVES[name](model, batch).value
    assert not value.requires_grad
    torch.testing.assert_close(value, expected.detach())


@pytest.mark.parametrize("norm", [lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), lambda: BatchNormMLP(4)])
def test_batch_norm_in_training_is_refused(norm):
    model, batch = UnconditionalEnergy(norm()), Batch(torch.randn(9, 4))
    for objective in (DenoisingScoreMatching(), SlicedScoreMatching()):
        with pytest.raises(ValueError, match=r"network\.1 normalises over the batch.*allow_batch_norm=True"):
            objective(model.train(), batch)
        assert objective(model.eval(), batch).value.isfinite()
    model.train()
    assert DenoisingScoreMatching(allow_batch_norm=True)(model, batch).value.isfinite()
    assert SlicedScoreMatching(allow_batch_norm=True)(model, batch).value.isfinite()


def test_numbers_out_of_range():
    for make, message in (
        (lambda: DenoisingScoreMatching(0.0), "sigma must be positive"),
        (lambda: DenoisingScoreMatching(math.nan), "sigma must be positive"),
        (lambda: DenoisingScoreMatching(1.0, "sum"), "reduction must be"),
        (lambda: DenoisingScoreMatching(1.0, sigma_power=3), "sigma_power must be 0, 2 or 4, got 3"),
        (lambda: SlicedScoreMatching(0), "directions must be at least 1"),
        (lambda: SlicedScoreMatching(law="sphere"), "law must be"),
        (lambda: HeldOutScoreMatching(-1.0), "sigma must be positive"),
        (lambda: HeldOutScoreMatching(repeats=0), "must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(ValueError, match=r"rows of 4 numbers are no images of shape \(1, 2, 3\)"):
        DenoisingScoreMatching(image_shape=(1, 2, 3))(UnconditionalEnergy(MLP(4, 2)), Batch(torch.randn(2, 4)))
    with pytest.raises(ValueError, match=r"needs real rows, got torch\.int64"):
        DenoisingScoreMatching()(UnconditionalEnergy(MLP(4, 2)), Batch(torch.zeros(2, 4, dtype=torch.long)))
    with pytest.raises(ValueError, match=r"expected a score of shape \(2, 4\), got \(2, 3\)"):
        ScoreNetwork(MLP(4, 3))().score(torch.randn(2, 4))


def test_held_out_noise_is_common():
    """Whatever the batch size, the random state and the model; of copies it is the mean."""
    model = ConditionalEnergy(StackedMLP(4, 2, (6,), "tanh", copies=3), 3, 2, copies=3).double()
    batch = Batch(torch.randn(50, 4).double(), torch.arange(50) % 3)
    first = HeldOutScoreMatching(SIGMA, repeats=2)(model, batch)
    state = torch.random.get_rng_state()
    again = HeldOutScoreMatching(SIGMA, repeats=2, batch_size=7)(model, batch)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first == pytest.approx(again)
    copies = [HeldOutScoreMatching(SIGMA, repeats=2)(take_copy(model, index), batch)["dsm"] for index in range(3)]
    assert first["dsm"] == pytest.approx(sum(copies) / 3)
    assert HeldOutScoreMatching(SIGMA, seed=1)(model, batch) != HeldOutScoreMatching(SIGMA)(model, batch)
