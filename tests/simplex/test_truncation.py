"""How many pieces are kept: the reference counts, the quantile of the published code, warnings."""

from __future__ import annotations

import warnings

import golden_simplex
import pytest
import torch

from logprob.simplex.truncation import (
    PerSampleTruncation,
    QuantileTruncation,
    below_threshold,
    nearest_quantile,
    required_sticks,
)

BOTH = pytest.mark.parametrize(("threshold", "percent"), [(0.9, 90), (0.99, 99)])


@BOTH
def test_counts_of_the_reference_file(threshold, percent):
    file = golden_simplex.load("truncation")
    pieces, required = file["sticks"], file[f"required_{percent}"]
    assert torch.equal(required_sticks(pieces, threshold), required)
    assert torch.equal(PerSampleTruncation(threshold).counts(pieces), required)
    assert torch.equal(below_threshold(pieces, threshold), file[f"count_published_{percent}"])


@BOTH
def test_quantiles_of_the_reference_file(threshold, percent):
    file = golden_simplex.load("truncation")
    for quantile, expected in zip(file["quantiles"].tolist(), file[f"n_published_{percent}"], strict=True):
        assert nearest_quantile(file[f"count_published_{percent}"], quantile) == expected
        counts = QuantileTruncation(threshold, quantile).counts(file["sticks"])
        assert counts.shape == (3, 7)
        assert (counts == expected).all()


def test_kept_mass_is_above_the_threshold_and_no_piece_is_spare():
    pieces = golden_simplex.load("truncation")["sticks"]
    total = pieces.cumsum(-1)
    counts = PerSampleTruncation(0.9).counts(pieces).unsqueeze(-1)
    assert (total.gather(-1, counts - 1) > 0.9).all()
    assert (total.gather(-1, (counts - 2).clamp(min=0))[counts > 1] <= 0.9).all()


def test_the_published_rule_can_look_at_one_variable():
    pieces = torch.tensor([[[0.3, 0.3, 0.3], [0.95, 0.02, 0.02]]]).expand(5, 2, 3)
    assert (QuantileTruncation(0.85, variable=0).counts(pieces) == 2).all()
    assert (QuantileTruncation(0.85, variable=1).counts(pieces) == 1).all()  # 0 counted; a sample needs a piece


def test_warning_gives_the_share():
    pieces = torch.tensor([[0.5, 0.2], [0.9, 0.05], [0.1, 0.1], [0.8, 0.15]])
    with pytest.warns(UserWarning, match=r"up to 50 % of the samples keep all 2 pieces.* 0\.9"):
        assert PerSampleTruncation(0.9).counts(pieces).tolist() == [2, 2, 2, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PerSampleTruncation(0.9).counts(pieces[[1, 3]])


def test_empty_batches():
    for truncation in (PerSampleTruncation(), QuantileTruncation()):
        assert truncation.counts(torch.zeros(0, 4, 9)).shape == (0, 4)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5])
def test_threshold_out_of_range(threshold):
    for make in (PerSampleTruncation, QuantileTruncation):
        with pytest.raises(ValueError, match=f"threshold must be in .0, 1., got {threshold}"):
            make(threshold)


def test_quantile_out_of_range():
    with pytest.raises(ValueError, match="got 101"):
        QuantileTruncation(0.9, 101)
