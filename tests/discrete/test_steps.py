"""How far finite differences move the scores."""

from __future__ import annotations

import pytest
import torch

from logprob.discrete.steps import Fixed, Normalised, Sign, Slope, as_step

STEPS = {
    "fixed": Fixed(0.5),
    "perturbed": Normalised(0.3),
    "theta": Normalised(0.3, "theta"),
    "centered": Normalised(0.3, "centered"),
    "batch": Normalised(0.3, norms="batch"),
}


def move(step, gradient, points, scores):
    return step(Slope(gradient, gradient.abs().amax(-1, keepdim=True)), points, scores)


def rows(seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(1, 5, 8, generator=generator, dtype=torch.float64)
    noise = torch.randn(4, 5, 8, generator=generator, dtype=torch.float64)
    return torch.randn(4, 5, 8, generator=generator, dtype=torch.float64), scores + noise, scores


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_the_same_lambda_moves_and_divides(step):
    gradient, points, scores = rows()
    offset, inverse = move(step, gradient, points, scores)
    torch.testing.assert_close(offset * inverse, gradient)


@pytest.mark.parametrize("reference", ["perturbed", "theta", "centered"])
def test_lengths_are_root_mean_squares_over_samples(reference):
    gradient, points, scores = rows()
    of = {"perturbed": points, "theta": scores, "centered": points - points.mean(-1, keepdim=True)}[reference]
    offset, _ = move(Normalised(0.3, reference), gradient, points, scores)
    length = lambda x: x.square().sum(-1).mean(0).sqrt()  # noqa: E731
    torch.testing.assert_close(length(offset), 0.3 * length(of))
    whole, _ = move(Normalised(0.3, reference, "batch"), gradient, points, scores)
    torch.testing.assert_close(length(whole).norm(), 0.3 * length(of).norm())


def test_a_constant_in_the_scores_means_nothing_to_centered_lengths():
    gradient, points, scores = rows()
    one, other = (move(Normalised(0.3, "centered"), gradient, points + c, scores + c)[0] for c in (0, 100))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("step", [*STEPS.values(), Sign()], ids=[*STEPS, "sign"])
def test_without_gradient_or_length_there_is_no_step(step):
    gradient, points, scores = rows()
    gradient[:, 2] = 0
    offset, inverse = move(step, gradient, points, scores)
    assert not offset[:, 2].any()
    assert offset.isfinite().all()
    assert inverse.isfinite().all()
    if isinstance(step, Normalised):
        offset, inverse = move(step, gradient, 0 * points, 0 * scores)
        assert not offset.any()
        assert not inverse.any()


@pytest.mark.parametrize("step", [Normalised(0.3), Normalised(0.3, "centered"), Normalised(0.3, "theta")])
def test_infinite_scores_do_not_count(step):
    gradient, points, scores = rows()
    without = [x[..., 2:].clone() for x in (points, scores)]
    for x in (points, scores):
        x[..., 0], x[..., 1] = torch.inf, -torch.inf
    gradient[..., :2] = 0
    torch.testing.assert_close(
        move(step, gradient, points, scores).offset[..., 2:], move(step, gradient[..., 2:], *without).offset
    )


def test_a_number_is_a_fixed_step():
    step = Sign()
    assert as_step(step) is step
    assert as_step(2.0).size == 2.0
    assert as_step(0.0)(Slope(torch.ones(1, 1, 2), torch.ones(1, 1, 1)), *torch.ones(2, 1, 1, 2)).inverse == 0


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="expected beta >= 0, got -1"):
        Normalised(-1.0)
    with pytest.raises(ValueError, match="reference must be one of perturbed, theta, centered, got 'noise'"):
        Normalised(reference="noise")
    with pytest.raises(ValueError, match="norms must be instance or batch, got 'row'"):
        Normalised(norms="row")
