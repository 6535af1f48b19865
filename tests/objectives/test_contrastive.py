"""Noise-contrastive estimation: known normalisers, caches, copies, and the contrasts of labels."""

from __future__ import annotations

import pytest
import torch
from objectives.contrast_cases import (
    GaussianEnergy,
    LabelledNormal,
    LearnedNormal,
    log_normaliser,
    normal,
)

from logprob.batch import Batch
from logprob.distributions.noise_rows import Noise
from logprob.energy import ConditionalEnergy, ContrastivePair, UnconditionalEnergy
from logprob.nn import MLP, StackedMLP
from logprob.objectives import NoiseContrastive, NoiseLikelihood, ranking_loss


def fit(objective, model, batch, steps=60):
    """All rows at each step, against the same noise."""
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=steps, line_search_fn="strong_wolfe")
    rows = objective.prepare(model, batch)

    def loss():
        optimizer.zero_grad()
        torch.manual_seed(1)
        value = objective(model, rows).value
        value.backward()
        return value

    optimizer.step(loss)


def test_the_constant_estimates_the_normaliser():
    """d = 5, 100,000 rows a side, noise of deviation 1.5."""
    torch.manual_seed(0)
    precision = torch.tensor([0.5, 1.0, 1.0, 2.0, 4.0])
    energy = GaussianEnergy(1, 5)
    labels = torch.zeros(100_000, dtype=torch.long)
    fit(NoiseContrastive(normal(5, 1.5)), energy, Batch(torch.randn(100_000, 5) / precision.sqrt(), labels))
    assert -energy.offset.item() == pytest.approx(log_normaliser(precision).item(), abs=0.02)


@pytest.mark.parametrize("labels", ["frequencies", "uniform"])
def test_each_label_has_its_normaliser_however_labels_are_drawn(labels):
    """20 labels of 800 to 3,200 rows; the noise of an estimate of log Z(y) is about .05."""
    torch.manual_seed(0)
    precisions = 0.5 + 1.5 * torch.rand(20, 5)
    y = torch.arange(20).repeat_interleave(torch.linspace(800, 3200, 20).long())
    energy = GaussianEnergy(20, 5)
    x = torch.randn(len(y), 5) / precisions[y].sqrt()
    fit(NoiseContrastive(normal(5, 1.5), ratio=2, labels=labels), energy, Batch(x, y))
    error = (-energy.offset - log_normaliser(precisions)).abs()
    assert error.mean() < 0.1
    assert error.max() < 0.3


def test_noise_given_labels_of_the_law_of_the_data_leaves_nothing_to_tell():
    scales = torch.tensor([0.5, 1.0, 3.0])
    energy = GaussianEnergy(3, 2)
    with torch.no_grad():
        energy.log_precision.copy_(-2 * scales.log().unsqueeze(-1).expand(3, 2))
        energy.offset.copy_(-log_normaliser(energy.log_precision.exp()))
    y = torch.randint(3, (50,))
    batch = Batch(torch.randn(50, 2) * scales[y].unsqueeze(-1), y)
    loss = NoiseContrastive(LabelledNormal(scales, 2), given_labels=True, pool=70)(energy, batch)
    assert loss.value.item() == pytest.approx(torch.tensor(2.0).log().item(), abs=1e-5)
    apart = NoiseContrastive(normal(2), pool=70)(energy, batch)
    assert apart.value.item() != pytest.approx(loss.value.item(), abs=1e-2)


def test_log_densities_are_computed_once_and_the_noise_takes_no_gradient():
    torch.manual_seed(0)
    pair = ContrastivePair(GaussianEnergy(3, 2), LearnedNormal(2))
    batch = Batch(torch.randn(40, 2), torch.randint(3, (40,)))
    objective = NoiseContrastive(pool=100)
    rows = objective.prepare(pair, batch)
    torch.testing.assert_close(rows.target, pair.noise().log_prob(batch.x))
    objective(pair, rows)  # fills the pool
    calls = []
    pair.noise.register_forward_hook(lambda *_: calls.append(1))
    objective(pair, rows.rows(torch.arange(8))).value.backward()
    assert not calls
    assert pair.noise.loc.grad is None
    assert pair.energy.offset.grad is not None


def test_a_prepared_loss_is_the_one_computed_on_the_spot():
    pair = ContrastivePair(GaussianEnergy(3, 2), LearnedNormal(2))
    batch = Batch(torch.randn(40, 2), torch.randint(3, (40,)))
    prepared, ready = NoiseContrastive(), NoiseContrastive()
    rows = prepared.prepare(pair, batch)
    torch.manual_seed(3)
    expected = ready(pair, batch).value
    torch.manual_seed(3)
    torch.testing.assert_close(prepared(pair, rows).value, expected)


def test_a_tilted_energy_is_the_energy_plus_the_log_density_of_the_noise():
    torch.manual_seed(0)
    noise = LearnedNormal(2)
    energy = ConditionalEnergy(MLP(2, 2), 3, 2, log_norm="per-condition")
    based = ConditionalEnergy(energy.network, 3, 2, log_norm="per-condition", base=LogDensity(noise))
    based.load_state_dict(energy.state_dict(), strict=False)
    batch = Batch(torch.randn(40, 2), torch.randint(3, (40,)))
    pair = ContrastivePair(energy, noise, tilted=True)
    torch.testing.assert_close(
        pair(batch.context).unnormalized_log_prob(batch.x), based(batch.context).unnormalized_log_prob(batch.x)
    )
    torch.testing.assert_close(pair.log_potentials(batch.x), based.log_potentials(batch.x))
    losses = []
    for objective, model in (
        (NoiseContrastive(ranking=0.5), pair),
        (NoiseContrastive(noise, tilted=True, ranking=0.5), energy),
        (NoiseContrastive(noise, ranking=0.5), based),
    ):
        torch.manual_seed(1)
        losses.append(objective(model, batch).value)
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(losses[0], losses[2])


class LogDensity(torch.nn.Module):
    def __init__(self, noise):
        super().__init__()
        self.noise = noise

    def forward(self, x):
        return self.noise().log_prob(x)


@pytest.mark.parametrize("weights", [{}, {"wrong_label": 0.5, "ranking": 2.0}])
def test_each_copy_gets_the_gradient_that_it_would_have_alone(weights):
    torch.manual_seed(0)
    network = StackedMLP(2, 3, (4,), copies=3)
    energy = ConditionalEnergy(network, 4, 3, squares="free", log_norm="per-condition", copies=3)
    from logprob.nn import take_copy

    alone = take_copy(energy, 1)
    batch = Batch(torch.randn(30, 2), torch.randint(4, (30,)))
    objective = NoiseContrastive(normal(2), ratio=2, **weights)
    for model in (energy, alone):
        torch.manual_seed(5)
        objective(model, batch).value.backward()
    pairs = zip(energy.parameters(), alone.parameters(), strict=True)
    for many, one in pairs:
        torch.testing.assert_close(many.grad[1], one.grad)
    assert objective.report(energy, batch, noise_rows=50).loss.shape == (3,)


def test_the_pool_comes_back_with_its_seed():
    torch.manual_seed(0)
    pair = ContrastivePair(GaussianEnergy(2, 2), LearnedNormal(2))
    batch = Batch(torch.randn(10, 2), torch.randint(2, (10,)))
    first, second = NoiseContrastive(pool=50), NoiseContrastive(pool=50)
    first(pair, batch)
    state = first.state_dict()
    random = torch.get_rng_state()
    expected = first(pair, batch).value
    second.prepare(pair, batch)
    second.load_state_dict(state)
    torch.set_rng_state(random)
    assert torch.equal(second(pair, first_rows(batch, pair)).value, expected)


def first_rows(batch, pair):
    return batch._replace(target=Noise(pair.noise).log_prob(batch.x))


def test_log_densities_keep_the_type_of_the_noise_and_rows_that_of_the_data():
    noise = LearnedNormal(2, dtype=torch.float64)
    rows = Noise(noise).draw(5, torch.zeros(1, 2))
    assert rows.x.dtype == torch.float32
    assert rows.log_q.dtype == torch.float64
    torch.testing.assert_close(rows.log_q, noise().log_prob(rows.x.double()), rtol=0, atol=0)
    energy = GaussianEnergy(2, 2)
    loss = NoiseContrastive(noise, pool=20)(energy, Batch(torch.randn(8, 2), torch.randint(2, (8,))))
    assert loss.value.dtype == torch.float64
    loss.value.backward()
    assert energy.offset.grad.dtype == torch.float32


def test_rows_without_labels_and_energies_without_labels():
    x, y = torch.randn(8, 2), torch.randint(3, (8,))
    energy = UnconditionalEnergy(MLP(2, 1))
    for batch in (Batch(x), Batch(x, y)):
        objective = NoiseContrastive(normal(2))
        assert objective(energy, objective.prepare(energy, batch)).value.isfinite()
        report = objective.report(energy, batch, noise_rows=10)
        assert torch.equal(report.accuracy, report.marginal_accuracy)


def test_labels_alone_need_no_noise_and_fix_their_normalisers():
    """Ranking learns log p(x | y) up to what all labels share; so does telling a wrong label."""
    torch.manual_seed(0)
    scales = torch.tensor([0.5, 1.0, 2.0])
    y = torch.randint(3, (4000,))
    batch = Batch(torch.randn(4000, 2) * scales[y].unsqueeze(-1), y)
    truth = GaussianEnergy(3, 2)
    with torch.no_grad():
        truth.log_precision.copy_(-2 * scales.log().unsqueeze(-1).expand(3, 2))
        truth.offset.copy_(-log_normaliser(truth.log_precision.exp()))
    expected = truth.offset - truth.offset.mean()
    for weights in ({"ranking": 1.0}, {"wrong_label": 1.0}):
        energy = GaussianEnergy(3, 2)
        fit(NoiseContrastive(contrast=0.0, **weights), energy, batch)
        torch.testing.assert_close(energy.offset - energy.offset.mean(), expected, atol=0.2, rtol=0)


def test_a_free_logit_is_the_energy_itself():
    energy = GaussianEnergy(3, 2)
    batch = Batch(torch.randn(20, 2), torch.randint(3, (20,)))
    losses = []
    for shift in (0.0, 1.0):
        with torch.no_grad():
            energy.offset.add_(shift)
        for free in (True, False):
            torch.manual_seed(0)
            losses.append(NoiseContrastive(contrast=0, wrong_label=1, free_logit=free)(energy, batch).value.item())
    assert losses[0] != pytest.approx(losses[2])
    assert losses[1] == pytest.approx(losses[3])


def test_ranking_is_the_cross_entropy_of_the_posterior():
    potentials, y = torch.randn(2, 6, 3), torch.randint(3, (6,))
    prior = torch.tensor([0.2, 0.3, 0.5])
    posterior = (potentials.exp() * prior) / (potentials.exp() * prior).sum(-1, keepdim=True)
    expected = -torch.stack([posterior[:, n, y[n]].log() for n in range(6)]).mean(0)
    torch.testing.assert_close(ranking_loss(potentials, y, prior.log()), expected)


def test_the_noise_of_a_pair_is_fitted_by_its_likelihood():
    pair = ContrastivePair(GaussianEnergy(1, 2), LearnedNormal(2))
    x = torch.randn(20, 2)
    loss = NoiseLikelihood()(pair, Batch(x, torch.zeros(20, dtype=torch.long)))
    loss.value.backward()
    assert loss.value.item() == pytest.approx(-normal(2).log_prob(x).mean().item())
    assert pair.energy.offset.grad is None
    with pytest.raises(TypeError, match="expected a ContrastivePair"):
        NoiseLikelihood()(pair.noise, Batch(x))


def test_mistakes_are_named():
    energy, batch = GaussianEnergy(2, 2), Batch(torch.randn(4, 2), torch.randint(2, (4,)))
    pair = ContrastivePair(energy, LearnedNormal(2))
    with pytest.raises(ValueError, match="ratio must be at least 1"):
        NoiseContrastive(ratio=0)
    with pytest.raises(ValueError, match="not all of them 0"):
        NoiseContrastive(contrast=0.0)
    with pytest.raises(ValueError, match="'uniform', got 'else'"):
        NoiseContrastive(labels="else")
    with pytest.raises(ValueError, match="got neither"):
        NoiseContrastive()(energy, batch)
    with pytest.raises(ValueError, match="noise of its own"):
        NoiseContrastive(normal(2))(pair, batch)
    with pytest.raises(ValueError, match=r"rows of shape \(3,\), the data \(2,\)"):
        NoiseContrastive(normal(3), tilted=True)(energy, batch)
    with pytest.raises(ValueError, match="the batch has none"):
        NoiseContrastive(normal(2), ranking=1.0)(energy, Batch(batch.x))
    with pytest.raises(ValueError, match="at least one row"):
        NoiseContrastive(normal(2), pool=0)
    with pytest.raises(TypeError, match="must be a module"):
        NoiseContrastive(normal(2), given_labels=True)(energy, batch)
