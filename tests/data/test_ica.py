"""The generators of nonlinear ICA: the published rows, the exact density and inverse, fresh rows of the same law."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_icebeem import load
from numpy.random import RandomState
from scipy import stats

from logprob.data import IMCASources, NonstationarySources, TCLSources, ica
from logprob.data.ica_mixing import mix, random_correlation, random_orthogonal, unmix

CASES = ["tcl_L2", "tcl_L4", "tcl_d3_K4_L1", "tcl_mean", "imca_L2", "imca_L4"]
GENERAL = ["general_leaky", "general_sigmoid"]
SUMMARIES = [f"{law}_L{layers}_n{rows}" for law in ("tcl", "imca") for layers in (2, 4) for rows in (100, 500)]


def golden(case):
    return {key: value.numpy() for key, value in load(case).items()}


def made(case):
    """The reference file and the record of the same settings."""
    expected = golden(case)
    dim, segments, rows, layers, seed, last = expected["meta"].tolist()
    if case.startswith("general"):
        kind = case.removeprefix("general_")
        law = "laplace" if kind == "leaky" else "gaussian"
        return expected, ica.nonstationary(segments, rows, layers, dim, seed, law, kind, draws=last)
    generator = ica.imca if case.startswith("imca") else ica.tcl
    return expected, generator(segments, rows, layers, dim, seed, varying_means=bool(last))


def without_constant(log_prob, record):
    return log_prob + record.x.shape[1] / 2 * np.log(2 * np.pi)


def close(actual, expected, tolerance):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("case", CASES + GENERAL)
def test_rows_are_the_published_ones(case):
    expected, data = made(case)
    close(data.x, expected["x"], 1e-10)
    close(data.sources, expected["s"], 1e-10)
    close(data.mixing, expected["A"], 1e-10)
    close(data.modulation, expected["modulation"], 1e-10)
    np.testing.assert_array_equal(data.y, expected["y"])
    assert (data.y.dtype, data.x.dtype, data.layers) == (np.int64, np.float64, expected["meta"][3])
    if "R" in expected:
        close(data.correlation, expected["R"], 1e-10)
        close(data.eigenvalues, expected["eigenvalues"], 1e-10)
    else:
        assert data.correlation is None


@pytest.mark.parametrize("case", [case for case in CASES if case != "tcl_mean"])
def test_density_is_the_published_one(case):
    expected, data = made(case)
    _, ladj = unmix(data.x, data.mixing, data.activation)
    close(ladj, expected["ladj"], 1e-10)
    log_prob = without_constant(data.log_prob(data.x, data.y), data)
    close(log_prob, expected["logp_population"], 1e-8)
    empirical = without_constant(data.log_prob(data.x, data.y, empirical=True), data)
    # six rows make nearly singular covariances of five dependent sources
    close(empirical, expected["logp_empirical"], 1e-7 if case.startswith("imca") else 1e-8)


@pytest.mark.parametrize("case", SUMMARIES)
def test_sums_over_whole_sets_are_the_published_ones(case):
    law, layers, rows = case.split("_")
    summary = golden("summaries")
    data = getattr(ica, law)(20, int(rows[1:]), int(layers[1:]), 5, seed=1)
    sums = [data.x.sum(), np.abs(data.sources).sum(), data.nll(constant=False), data.nll(True, constant=False)]
    close(sums, summary[case], 1e-6)
    close(data.x[0], summary[f"{case}_x0"], 1e-6)
    close(data.sources[0], summary[f"{case}_s0"], 1e-6)
    close(data.inverse(data.x), data.sources, 1e-12)


@pytest.mark.parametrize(("layers", "truth"), [(2, -0.2816), (4, -8.5176)])
def test_likelihood_of_the_truth(layers, truth):
    data = ica.tcl(20, 500, layers, 5, seed=1)
    assert data.nll(empirical=True, constant=False) == pytest.approx(truth, abs=1e-4)
    assert data.nll() == pytest.approx(-data.log_prob(data.x, data.y).mean(), abs=1e-12)


@pytest.mark.parametrize("case", CASES + GENERAL)
def test_inverse_finds_the_sources(case):
    _, data = made(case)
    close(data.inverse(data.x), data.sources, 1e-12)


@pytest.mark.parametrize(("case", "law"), [("general_leaky", stats.laplace), ("general_sigmoid", stats.norm)])
def test_density_is_that_of_the_sources_and_the_jacobian(case, law):
    """Against scipy's densities and autograd's Jacobian of the mixing."""
    _, data = made(case)
    scale = data.modulation.T[data.y] / (2**0.5 if law is stats.laplace else 1)
    expected = law.logpdf(data.sources, scale=scale).sum(axis=1)

    def mixed(source):
        x = source
        for matrix in torch.from_numpy(data.mixing):
            act = torch.nn.functional.leaky_relu(x, 0.2) if data.activation == "leaky" else x.sigmoid()
            x = act @ matrix
        return x

    jacobians = torch.func.vmap(torch.func.jacrev(mixed))(torch.from_numpy(data.sources))
    expected -= torch.linalg.slogdet(jacobians).logabsdet.numpy()
    close(data.log_prob(data.x, data.y), expected, 1e-9)


@pytest.mark.parametrize("generator", [ica.tcl, ica.imca])
def test_density_knows_the_means(generator):
    data = generator(4, 50, layers=2, dim=3, seed=5, varying_means=True)
    assert np.abs(data.means).max() > 1
    expected = np.empty(len(data.x))
    for k in range(4):
        law = stats.multivariate_normal(data.means[:, k], data.covariances[k])
        expected[data.y == k] = law.logpdf(data.sources[data.y == k])
    expected += np.log(5) * (data.x @ data.mixing[0].T < 0).sum(axis=1)
    close(data.log_prob(data.x, data.y), expected, 1e-9)


@pytest.mark.parametrize("generator", [ica.tcl, ica.imca, ica.nonstationary])
def test_fresh_rows_have_the_same_law(generator):
    data = generator(3, 4, layers=3, dim=2, seed=1)
    fresh = data.more(20_000, seed=1)
    for name in ("mixing", "modulation", "means", "correlation"):
        assert getattr(fresh, name) is getattr(data, name)
    close(fresh.inverse(fresh.x), fresh.sources, 1e-12)
    assert not np.isin(fresh.sources, data.sources).any()
    # relative errors of variances: sd sqrt(2 / n) = .01 (normal) and sqrt(5 / n) = .016 (Laplace)
    found, true = (np.diagonal(c, axis1=1, axis2=2) for c in (fresh.empirical_covariances, data.covariances))
    np.testing.assert_allclose(found, true, rtol=0.08)
    assert np.array_equal(data.more(5, 3).x, data.more(5, 3).x)
    assert not np.array_equal(data.more(5, 3).x, data.more(5, 4).x)


def test_fresh_rows_keep_the_means():
    data = ica.tcl(3, 4, seed=1, varying_means=True)
    fresh = data.more(10_000, seed=0)
    for k in range(3):
        close(fresh.sources[fresh.y == k].mean(axis=0), data.means[:, k], 6 * 3 / 10_000**0.5)


def test_segments_are_conditions_of_one_law():
    """The mean log-density under the true segment exceeds that under another: a Kullback-Leibler divergence."""
    data = ica.tcl(4, 200, seed=2)
    assert data.log_prob(data.x, data.y).mean() > data.log_prob(data.x, (data.y + 1) % 4).mean()


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_random_orthogonal(dim):
    matrix = random_orthogonal(RandomState(3), dim)
    close(matrix @ matrix.T, np.eye(dim), 1e-13)
    close(matrix, stats.ortho_group.rvs(dim, random_state=RandomState(3)) if dim > 1 else matrix, 1e-12)


@pytest.mark.parametrize("dim", [2, 3, 5, 12])
def test_random_correlation_has_its_eigenvalues(dim):
    eigenvalues = RandomState(dim).random_sample(dim)
    eigenvalues *= dim / eigenvalues.sum()
    matrix = random_correlation(RandomState(3), eigenvalues)
    close(np.diag(matrix), np.ones(dim), 1e-12)
    close(matrix, matrix.T, 1e-12)
    close(np.linalg.eigvalsh(matrix), np.sort(eigenvalues), 1e-12)
    close(random_correlation(RandomState(3), np.ones(dim)), np.eye(dim), 1e-12)


def test_one_layer_mixes_nothing_and_one_dimension_works():
    data = ica.tcl(3, 5, layers=1, dim=1, seed=0)
    assert data.mixing.shape == (0, 1, 1)
    np.testing.assert_array_equal(data.x, data.sources)
    for one in (ica.tcl(3, 5, layers=3, dim=1), ica.nonstationary(3, 5, layers=3, dim=1, draws=5)):
        close(one.inverse(one.x), one.sources, 1e-12)
    assert ica.tcl(1, 5).segments == 1
    assert ica.imca(1, 5, layers=1).x.shape == (5, 5)


def test_what_a_sigmoid_cannot_reach_has_no_density():
    data = ica.nonstationary(2, 4, layers=2, dim=2, seed=1, activation="sigmoid", draws=5)
    far = np.full((1, 2), 1e3)
    assert data.log_prob(far, [0]).tolist() == [-np.inf]
    assert np.isnan(data.log_prob(np.full((1, 2), np.nan), [0])).all()
    with pytest.raises(ValueError, match="only reaches"):
        data.inverse(far)


def test_mixing_does_not_change_its_argument():
    sources = np.array([[-1.0, 2.0]])
    assert mix(sources, np.eye(2)[None], "leaky").tolist() == [[-0.2, 2.0]]
    assert sources.tolist() == [[-1.0, 2.0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ica.tcl(n_segments=0), "n_segments must be at least 1, got 0"),
        (lambda: ica.tcl(layers=0), "layers"),
        (lambda: ica.tcl(dim=0), "dim"),
        (lambda: ica.tcl(seed=-1), "seed"),
        (lambda: ica.tcl(1, 1), "two rows"),
        (lambda: ica.imca(dim=1), "at least 2, got dim=1"),
        (lambda: ica.nonstationary(source="cauchy"), "cauchy"),
        (lambda: ica.nonstationary(activation="relu"), "relu"),
        (lambda: ica.nonstationary(draws=0), "draws"),
        (lambda: ica.tcl(2, 3).more(0, 1), "n_per_segment >= 1"),
        (lambda: ica.tcl(2, 3).inverse(np.zeros((3, 4))), r"expected x of shape \(N, 5\), got \(3, 4\)"),
        (lambda: ica.tcl(2, 3).log_prob(np.zeros((3, 5)), [0, 1]), r"y of shape \(3,\)"),
        (lambda: ica.tcl(2, 3).log_prob(np.zeros((2, 5)), [0.0, 1.0]), "integer"),
        (lambda: ica.tcl(2, 3).log_prob(np.zeros((2, 5)), [0, 2]), r"0\.\.1, got 0\.\.2"),
        (lambda: ica.imca(2, 5).nll(empirical=True), "need 6 rows of each, got 5"),
        (lambda: TCLSources(valid=0), "valid and test"),
        (lambda: TCLSources().stand_in(0), "rows"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("source", [TCLSources, IMCASources, NonstationarySources])
def test_source_trains_on_the_published_rows(source):
    made = source(layers=3, per_segment=6, segments=4, dim=3, seed=2, valid=5, test=7)
    data, record = made.load(), made.record()
    np.testing.assert_array_equal(data.train.x, record.x.astype(np.float32))
    np.testing.assert_array_equal(data.train.target, record.sources.astype(np.float32))
    np.testing.assert_array_equal(data.train.context, record.y)
    assert [len(part.x) for part in (data.train, data.valid, data.test)] == [24, 20, 28]
    assert (data.train.x.dtype, data.train.context.dtype) == (torch.float32, torch.int64)
    assert not torch.isin(data.test.x, data.valid.x).any()
    truth = -record.log_prob(data.test.x, data.test.context).mean()
    assert data.provenance["truth"]["test"] == pytest.approx(truth, abs=1e-3)
    assert data.provenance["conditions"] == 4
    assert data.content_sha256 == made.load().content_sha256


def test_stand_in_has_every_segment():
    data = IMCASources().stand_in(10)
    assert data.train.context.unique().tolist() == list(range(20))
    assert data.name == "imca-L2-n2 stand-in"
    assert "smoke" in data.provenance["stand_in"]
