"""Averages over one Gaussian at a time against the quadrature."""

from __future__ import annotations

import pytest
import torch

from logprob.simplex.category_probs import argmax_log_probs, category_log_probs
from logprob.simplex.sampled_probs import rao_blackwell_probs

DOUBLE = torch.float64


@pytest.mark.parametrize("threshold", [None, 0.0, -0.7])
def test_agrees_with_quadrature(threshold):
    """Each of 36 numbers within 5 standard errors: false alarms 2e-5. Rare categories are too skew for that."""
    loc, scale = torch.randn(6, 5, dtype=DOUBLE), torch.rand(6, 5, dtype=DOUBLE) * 2 + 0.1
    estimate = rao_blackwell_probs(loc, scale, threshold, samples=20_000)
    exact = argmax_log_probs(loc, scale) if threshold is None else category_log_probs(loc, scale, threshold)
    assert estimate.probs.shape == exact.shape == estimate.standard_error.shape
    within = (estimate.probs - exact.exp()).abs() <= 5 * estimate.standard_error + 1e-12
    assert within[exact.exp() > 0.005].all()


def test_varies_less_than_frequencies():
    loc, scale = torch.zeros(9, dtype=DOUBLE), torch.ones(9, dtype=DOUBLE)
    estimate = rao_blackwell_probs(loc, scale, None, samples=4000)
    frequency = (1 / 9 * 8 / 9 / 4000) ** 0.5
    assert (estimate.standard_error < 0.75 * frequency).all()


def test_plain_softmax_of_gaussians():
    loc, scale = torch.randn(4, 3, dtype=DOUBLE), torch.rand(4, 3, dtype=DOUBLE) + 0.2
    two = argmax_log_probs(loc[:, :2], scale[:, :2]).exp()
    gap = (loc[:, 0] - loc[:, 1]) / scale[:, :2].norm(dim=-1)
    assert torch.allclose(two[:, 0], torch.special.ndtr(gap), rtol=0, atol=1e-12)
    assert torch.allclose(argmax_log_probs(loc, scale).exp().sum(-1), torch.ones(4, dtype=DOUBLE), atol=1e-12)
    parameters = loc.requires_grad_(), scale.requires_grad_()
    assert torch.autograd.gradcheck(argmax_log_probs, parameters)


def test_broadcasts_thresholds():
    estimate = rao_blackwell_probs(torch.zeros(2), torch.ones(2), torch.zeros(3), samples=10)
    assert estimate.probs.shape == (3, 3)
    assert (estimate.standard_error[:, -1] == 0).all()


def test_errors_name_what_came():
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        rao_blackwell_probs(torch.zeros(2), torch.ones(2), samples=1)
    with pytest.raises(ValueError, match="scale > 0, got 0"):
        rao_blackwell_probs(torch.zeros(2), torch.zeros(2))
