"""Locations from probabilities: reference files, round trips, gradients of the implicit function."""

from __future__ import annotations

import golden_simplex
import pytest
import torch

from logprob.simplex import from_probs
from logprob.simplex.category_probs import category_log_probs
from logprob.simplex.from_probs import solve_loc, uniform_loc

DOUBLE = torch.float64
FITS = ["discrete10", "binomial12", "hypergeometric", "poisson50", "negative_binomial"]


def total_variation(loc, probs, scale=1.0, threshold=0.0):
    reached = category_log_probs(loc, torch.full_like(loc, scale), threshold).exp()
    return (reached - probs).abs().sum(-1).max().item() / 2


def test_uniform_reference_file():
    file = golden_simplex.load("uniform_prior")
    for categories, loc in zip(file["categories"].tolist(), file["loc"], strict=True):
        assert uniform_loc(categories, file["sigma"], file["threshold"]).item() == pytest.approx(loc.item(), abs=1e-12)


@pytest.mark.parametrize("categories", [2, 3, 10, 200])
def test_uniform_law(categories):
    scale, threshold = torch.tensor([0.1, 1.0, 3.0], dtype=DOUBLE), torch.tensor([2.0, 0.0, -1.0], dtype=DOUBLE)
    loc = uniform_loc(categories, scale, threshold).unsqueeze(-1).expand(3, categories - 1)
    probs = category_log_probs(loc, scale.unsqueeze(-1), threshold).exp()
    assert (probs * categories - 1).abs().max() < 1e-10


@pytest.mark.parametrize("name", FITS)
def test_reference_fits(name):
    file = golden_simplex.load("fits")
    loc = solve_loc(file[f"{name}_target"])
    assert total_variation(loc, file[f"{name}_target"]) < 1e-9
    probs = category_log_probs(loc, torch.ones_like(loc)).exp()
    assert (probs - file[f"{name}_probs"]).abs().max() < 1e-9


def test_no_law_is_missed():
    for categories, concentration in ((2, 0.1), (3, 0.05), (20, 0.05), (20, 1.0), (12, 5.0)):
        probs = torch.distributions.Dirichlet(torch.full((categories,), concentration, dtype=DOUBLE)).sample((60,))
        assert total_variation(solve_loc(probs), probs) < 1.1e-9


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_batches_of_scales_and_thresholds(dtype):
    probs = torch.randn(4, 5, 7, dtype=dtype).softmax(-1)
    scale, threshold = torch.rand(4, 5, 6, dtype=dtype) * 3 + 0.01, torch.randn(4, 5, dtype=dtype)
    loc = solve_loc(probs, scale, threshold)
    assert loc.shape == (4, 5, 6)
    assert loc.dtype == dtype
    within = 1e-8 if dtype == DOUBLE else 1e-4
    assert (category_log_probs(loc, scale, threshold).exp() - probs).abs().max() < within


@pytest.mark.parametrize("last", [0.0, 0.3])
def test_probabilities_of_zero_are_nearly_reached(last):
    probs = torch.tensor([0.7 - last, 0.0, 0.3, last], dtype=DOUBLE)
    assert solve_loc(probs).isfinite().all()
    assert total_variation(solve_loc(probs), probs) < 1e-8
    sure = torch.eye(4, dtype=DOUBLE)
    assert total_variation(solve_loc(sure), sure) < 1e-8


def test_gradients_are_those_of_the_implicit_function():
    logits = torch.randn(2, 4, dtype=DOUBLE, requires_grad=True)
    scale = (torch.rand(2, 3, dtype=DOUBLE) + 0.5).requires_grad_()
    threshold = torch.randn(2, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda l, s, c: solve_loc(l.softmax(-1), s, c), (logits, scale, threshold), atol=1e-5
    )


def test_empty_batch_and_shapes():
    assert solve_loc(torch.ones(0, 3) / 3).shape == (0, 2)
    assert solve_loc(torch.ones(3) / 3, threshold=torch.zeros(())).shape == (2,)


def test_errors_name_what_came(monkeypatch):
    with pytest.raises(ValueError, match="at least 2 categories, got 1"):
        uniform_loc(1)
    with pytest.raises(ValueError, match="scale > 0, got -1"):
        uniform_loc(3, -1.0)
    with pytest.raises(ValueError, match=r"K >= 2, got \(1,\)"):
        solve_loc(torch.ones(1))
    with pytest.raises(ValueError, match=r"sums of \[2.0\]"):
        solve_loc(torch.ones(2))
    with pytest.raises(ValueError, match="expected probs >= 0"):
        solve_loc(torch.tensor([1.0, torch.nan]))
    with pytest.raises(ValueError, match="scale > 0, got 0"):
        solve_loc(torch.ones(2) / 2, 0.0)
    monkeypatch.setattr(from_probs, "STEPS", 2)
    with pytest.raises(ValueError, match="2 Newton steps"):
        solve_loc(torch.tensor([0.999, 0.0005, 0.0005]))
