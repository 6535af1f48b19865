"""Nonlinear ICA by a conditional energy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from logprob.batch import Batch
from logprob.data import ica
from logprob.distributions.contrast import contrastive_loss
from logprob.estimators import ICEBeeM, Readout
from logprob.estimators.label_free_noise import NoiseRows

SMALL = {"restarts": 2, "steps": 20, "batch_size": 64, "noise_steps": 20, "noise_rows": 2000, "random_state": 0}


def data_of(n_per_segment=50):
    return ica.tcl(n_segments=6, n_per_segment=n_per_segment, layers=2, dim=3, seed=1)


def fitted(**changes):
    data = data_of()
    return data, ICEBeeM(**{**SMALL, **changes}).fit(data.x, data.y)


@pytest.mark.slow
def test_log_normalisers_of_gaussians_are_found():
    """Some seconds more than ten on a slow core: the normaliser is only right once the contrast has converged.

    One column of two normal laws: with ``h = -1/(2 var)`` and f = x, ``Z = sqrt(2 pi var)``, relative to the flow.

    The densities ``exp(u - log Z)`` must integrate to one, whatever f became.
    """
    rng = np.random.RandomState(0)
    y = np.repeat([0, 1], 2000)
    X = rng.randn(4000, 1) * np.array([0.5, 2.0])[y, None]
    model = ICEBeeM(
        restarts=2, steps=1500, batch_size=256, noise_steps=300, noise_rows=20_000, noise_layers=1, random_state=0
    ).fit(X, y)
    nodes = torch.linspace(-8, 8, 4001).unsqueeze(-1)
    with torch.no_grad():
        log_q = model.noise_().log_prob(nodes)
        density = (model.model_.log_potentials(nodes) + log_q.unsqueeze(-1)).exp()  # c_y is in the potentials
    mass = density.sum(0) * 16 / 4000
    assert (mass.log().abs() < 0.1).all()
    variance = (density * nodes.square()).sum(0) * 16 / 4000 / mass
    expected = np.array([0.25, 4.0]) * model.whitening_.matrix.item() ** 2
    np.testing.assert_allclose(variance, expected, rtol=0.1)


def test_features_are_those_of_the_energy_not_of_the_flow():
    data, model = fitted()
    f = model.energy_features(data.x)
    np.testing.assert_allclose(model.transform(data.x), np.abs(f))
    with torch.no_grad():
        white = model.whitening_(torch.from_numpy(data.x)).float()
        np.testing.assert_allclose(f, model.model_.network(white), rtol=1e-4, atol=1e-5)
    assert np.abs(model.noise_features(data.x) - f).max() > 0.1
    assert model.scored_ == "|energy.f|"
    assert [line["stage"] for line in (model.history_[0], model.history_[-1])] == ["noise", "energy"]


@pytest.mark.parametrize("tilted", [True, False])
def test_the_loss_is_that_of_the_formula(tilted):
    data, model = fitted(tilted=tilted, base=False)
    y = torch.from_numpy(data.y)
    x = model.whitening_(torch.from_numpy(data.x)).float()
    noise = NoiseRows(torch.randn(100, 3), torch.randn(100))
    labels = torch.randint(6, (100,))
    log_q = torch.randn(len(x))
    energy = model.model_
    h, c = energy.square_labels, energy.offset

    def log_ratio(rows, rows_y, rows_log_q):
        f = energy.network(rows)
        u = (f.square() * h[rows_y]).sum(-1) + c[rows_y]
        return u if tilted else u - rows_log_q

    got = model._contrast(energy, Batch(x, y, log_q), noise, labels)
    expected = contrastive_loss(log_ratio(x, y, log_q), log_ratio(noise.x, labels, noise.log_q), 4)
    torch.testing.assert_close(got, expected)


def test_log_partition_is_minus_the_constant():
    _, model = fitted()
    np.testing.assert_allclose(model.log_partition_, -model.model_.offset.detach().numpy())
    assert model.class_prior_ == pytest.approx(np.full(6, 1 / 6))


def test_held_out_loss_has_the_same_noise_each_time():
    data, model = fitted()
    assert model.score(data.x, data.y) == model.score(data.x, data.y)


@pytest.mark.parametrize("kind", ["raw", "abs", "ica", "statistics"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_readouts(kind):
    data, model = fitted(readout=kind)
    Z = model.transform(data.x)
    assert Z.shape == data.x.shape
    assert "energy.f" in model.scored_
    if kind in ("abs", "statistics"):
        assert (Z >= 0).all()


def test_readout_of_squares_finds_absolute_values():
    """Squares mixed by a matrix: FastICA of them, oriented and shifted, is |s| up to order and scale."""
    rng = np.random.RandomState(0)
    s = rng.laplace(size=(5000, 2))
    mixed = torch.from_numpy(np.sqrt(s**2 @ np.array([[1.0, 0.4], [0.3, 1.0]])))
    Z = Readout("statistics", 0).fit(mixed).transform(mixed).numpy()
    correlation = np.corrcoef(np.abs(s).T, Z.T)[:2, 2:]
    assert max(correlation.trace(), np.fliplr(correlation).trace()) / 2 > 0.9


def test_score_matching():
    data, model = fitted(objective="dsm", sigma=0.3)
    assert np.isfinite(model.score(data.x, data.y))
    assert not hasattr(model, "log_partition_")
    with pytest.raises(AttributeError, match="objective='nce'"):
        model.noise_features(data.x)


@pytest.mark.parametrize("squares", ["tied", None])
def test_other_heads(squares):
    data, model = fitted(squares=squares)
    assert model.model_.labels is not None
    assert np.isfinite(model.score(data.x, data.y))


def test_parameters_are_checked():
    data = data_of()
    for name, value in {"objective": "mle", "readout": "best", "sigma": 0.0, "noise_ratio": 0}.items():
        with pytest.raises(ValueError, match=name):
            ICEBeeM(**{**SMALL, name: value}).fit(data.x, data.y)
