"""Finite differences of solvers, against the published code and themselves."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from golden_discrete import load
from replayed import BottomK, Counting, Replayed
from torch.utils.checkpoint import checkpoint

from logprob.discrete.differentiable import differentiable
from logprob.discrete.identity import StraightThroughIdentity
from logprob.discrete.implicit import AIMLE, IMLE, BlackBox
from logprob.discrete.k_subset import KSubset
from logprob.discrete.paper_step import PaperStep
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.solvers.grid_path import GridPath
from logprob.discrete.solvers.python import PythonSolver
from logprob.discrete.solvers.spanning_tree import SpanningTree
from logprob.discrete.solvers.top_k import TopK
from logprob.discrete.steps import Normalised, Sign

PAPER = {"reduction": "paper"}
CASES = {
    "fwd_b1_scaled": (IMLE(1.0, **PAPER), 1.0),
    "fwd_b02_scaled": (IMLE(0.2, **PAPER), 1.0),
    "fwd_b1_unscaled": (IMLE(1.0, scaled=False, **PAPER), 1.0),
    "fwd_b1000_t0_10_unscaled": (IMLE(1000.0, scaled=False, target_temperature=10.0, **PAPER), 0.0),
    "fwd_a05_b1_t1_2_scaled": (IMLE(1.0, alpha=0.5, target_temperature=2.0, **PAPER), 1.0),
    "recompute_a05_b1_t1_2_scaled": (IMLE(1.0, alpha=0.5, target_temperature=2.0, baseline="recompute", **PAPER), 1.0),
    "fwd_a0_b10_unscaled": (IMLE(10.0, scaled=False, alpha=0.0, **PAPER), 1.0),
    "central_b1_scaled": (IMLE(1.0, "central", **PAPER), 1.0),
    "central_b1_unscaled": (IMLE(1.0, "central", scaled=False, **PAPER), 1.0),
    "central_b3_t05_scaled": (IMLE(3.0, "central", **PAPER), 0.5),
    "marginal_central_b1_scaled": (IMLE(1.0, "central", **PAPER), 1.0),
    "ste": (StraightThroughIdentity(**PAPER), 1.0),
    "ste_t03": (StraightThroughIdentity(**PAPER), 0.3),
    "min_fwd_b1_scaled": (IMLE(1.0, **PAPER), 1.0),
    "min_central_b1_scaled": (IMLE(1.0, "central", **PAPER), 1.0),
}


def samples_first(x, instances):
    """Rows of the published layout, samples of an instance side by side, as ``(S, B, ...)``."""
    return x.unflatten(0, (instances, -1)).transpose(0, 1)


def replay(theta, noise, dy, solver, gradient, temperature=1.0):
    """z and the gradient of theta, for noise ``(B, S, ...)`` and dy ``(B S, ...)``."""
    theta = theta.clone().requires_grad_()
    law = PerturbAndMAP(theta, solver, Replayed(noise.transpose(0, 1)), temperature, gradient)
    z = law.rsample((noise.shape[1],))
    z.backward(samples_first(dy, len(theta)))
    return z.detach().transpose(0, 1).flatten(0, 1), theta.grad


ONE_SAMPLE = [name for name in CASES if not name.startswith("marginal")]  # whose groups need several samples


@pytest.mark.parametrize(("samples", "name"), [*product(["s1"], ONE_SAMPLE), *product(["s6"], CASES)])
def test_top_k_as_published(name, samples):
    golden = load(f"estimators_topk_{samples}")
    gradient, temperature = CASES[name]
    k = int(golden["k"])
    solver = BottomK(k) if name.startswith("min") else TopK(k)
    z, grad = replay(golden["theta"], golden["noise"], golden["dy"], solver, gradient, temperature)
    assert torch.equal(z, golden[f"z_{name}"])
    torch.testing.assert_close(grad, golden[f"grad_{name}"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("samples", ["s1", "s6"])
@pytest.mark.parametrize("difference", ["fwd", "central"])
@pytest.mark.parametrize("beta", ["0", "0p3", "1"])
def test_one_call_of_the_rule_of_the_paper(samples, difference, beta):
    golden = load(f"estimators_topk_{samples}")
    step = PaperStep(rate=0.01).double()
    step.beta.fill_(float(beta.replace("p", ".")))
    gradient = IMLE(step, "forward" if difference == "fwd" else "central", **PAPER)
    inputs = golden["theta"], golden["noise"][:, :1], golden["dy_s1"]
    _, grad = replay(*inputs, TopK(int(golden["k"])), gradient)
    torch.testing.assert_close(grad, golden[f"grad_adaptive_b{beta}_{difference}"], rtol=0, atol=1e-10)
    after, density = golden[f"state_adaptive_b{beta}_{difference}"]
    torch.testing.assert_close(step.beta, after, rtol=0, atol=1e-9)
    torch.testing.assert_close(step.density, density, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "solver", "gradient"),
    [
        ("tree_central_b1_scaled", SpanningTree(), IMLE(1.0, "central", **PAPER)),
        ("tree_fwd_b1_scaled", SpanningTree(), IMLE(1.0, **PAPER)),
        ("path_min_central_b1_scaled", GridPath(), IMLE(1.0, "central", **PAPER)),
        ("path_min_fwd_b2_scaled", GridPath(), IMLE(2.0, **PAPER)),
    ],
)
def test_trees_and_paths_as_published(name, solver, gradient):
    golden = load("estimators_topk_s6")
    kind = name.split("_")[0]
    z, grad = replay(*(golden[f"{kind}_{what}"] for what in ("theta", "noise", "dy")), solver, gradient)
    assert torch.equal(z, golden[f"z_{name}"])
    torch.testing.assert_close(grad, golden[f"grad_{name}"], rtol=0, atol=1e-10)


def test_black_box_as_published():
    golden = load("estimators_topk_s6")
    theta = golden["path_theta"].clone().requires_grad_()
    z = PerturbAndMAP(theta, GridPath(), noise=None, gradient=BlackBox(2.0)).rsample()
    z.backward(golden["path_dy"][::2])
    assert torch.equal(z, golden["z_path_blackbox_l2"])
    torch.testing.assert_close(theta.grad, golden["grad_path_blackbox_l2"], rtol=0, atol=1e-10)


def backward(gradient, solver, scores, samples, loss=lambda z: z @ torch.linspace(-1, 1, 6), **law):
    z = PerturbAndMAP(scores, solver, gradient=gradient, **law).rsample((samples,))
    loss(z).mean(0).sum().backward()


@pytest.mark.parametrize(
    ("gradient", "solves"),
    [
        (IMLE(1.0), 2),
        (IMLE(1.0, "central"), 3),
        (IMLE(1.0, alpha=0.5), 2),
        (IMLE(1.0, alpha=0.5, baseline="recompute"), 3),
        (IMLE(1.0, baseline="recompute"), 2),
        (AIMLE(), 3),
        (AIMLE(difference="forward"), 2),
        (IMLE(PaperStep(beta=1.0)), 2),
        (StraightThroughIdentity(), 1),
    ],
)
@pytest.mark.parametrize("samples", [1, 4])
def test_solves_of_a_sample(gradient, solves, samples):
    """Every pass is one call. Of one sample, an automatic target asks for one more at every eighth call."""
    solver = Counting(2)
    for call in range(9):
        del solver.calls[:]
        backward(gradient, solver, torch.randn(7, 6, requires_grad=True), samples)
        probes = 7 if isinstance(gradient, AIMLE) and samples == 1 and call % 8 == 0 else 0
        assert solver.rows == 7 * samples * solves + probes
        assert len(solver.calls) == (1 if solves == 1 else 2) + (probes > 0)
    if isinstance(gradient, IMLE):
        assert gradient.diagnostics().solves == samples * solves


def test_without_gradients_a_sample_is_one_solve():
    solver, scores = Counting(2), torch.randn(7, 6, requires_grad=True)
    with torch.no_grad():
        assert not PerturbAndMAP(scores, solver, gradient=AIMLE()).rsample((3,)).requires_grad
    assert not PerturbAndMAP(scores.detach(), solver, gradient=AIMLE()).rsample((3,)).requires_grad
    assert solver.rows == 2 * 21


@pytest.mark.parametrize("in_torch", [False, True])
@pytest.mark.parametrize("gradient", [IMLE(1.0), IMLE(1.0, "central"), IMLE(1.0, alpha=0.3), AIMLE()])
def test_rows_without_gradient_get_none_and_ask_nothing_of_a_slow_solver(gradient, in_torch):
    solver, scores = Counting(2, in_torch), torch.randn(5, 6, requires_grad=True)
    weights = torch.randn(4, 5, 6)
    weights[:, 2], weights[1, 3] = 0, 0
    backward(gradient, solver, scores, 4, lambda z: (z * weights).sum(-1))
    assert not scores.grad[2].any()
    assert scores.grad[[0, 1, 3, 4]].isfinite().all()
    sides = 2 if gradient.difference == "central" else 1
    assert solver.rows == 20 + sides * (20 if in_torch else 15)
    del solver.calls[:]
    backward(gradient, solver, scores, 4, lambda z: 0 * z.sum(-1))
    assert len(solver.calls) == 1 + in_torch


def test_a_gradient_that_is_not_finite_shows_in_its_row_alone():
    for gradient in (IMLE(1.0), AIMLE()):
        for wrong in (torch.nan, torch.inf):
            scores = torch.randn(3, 6, requires_grad=True)
            weights = torch.ones(3, 6).index_put((torch.tensor(1), torch.tensor(2)), torch.tensor(wrong))
            backward(gradient, TopK(2), scores, 4, lambda z, weights=weights: (z * weights).sum(-1))
            assert scores.grad[1].isnan().all()
            assert scores.grad[[0, 2]].isfinite().all()
    assert all(value.isfinite().all() for value in gradient.step.buffers())


@pytest.mark.parametrize("size", [1e-38, 1e-20, 1e20, 1e37])
def test_the_size_of_the_gradient_is_that_of_the_estimate(size):
    grads = []
    for factor in (1.0, size):
        scores = torch.zeros(3, 6, requires_grad=True)
        law = {"generator": torch.Generator().manual_seed(0)}
        backward(AIMLE(), TopK(2), scores, 4, lambda z, factor=factor: factor * (z @ torch.linspace(-1, 1, 6)), **law)
        grads.append(scores.grad / factor)
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("difference", ["forward", "central"])
def test_one_of_n_and_a_linear_loss_are_nearly_unbiased(difference):
    scores = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    f = torch.linspace(-1, 1, 6).double()
    generator = torch.Generator().manual_seed(1)
    backward(IMLE(0.2, difference), TopK(1), scores, 40_000, lambda z: z @ f, generator=generator)
    p = scores.detach().softmax(-1)
    truth = p * (f - (p * f).sum(-1, keepdim=True))
    assert (scores.grad - truth).abs().max() < 0.03  # about 4.5 standard errors and the bias


def test_the_mean_gradient_does_not_depend_on_the_number_of_samples():
    lengths = []
    for samples in (1, 10, 100):
        scores = (
            torch.randn(100, 6, generator=torch.Generator().manual_seed(0)).repeat(2000 // samples, 1).requires_grad_()
        )
        generator = torch.Generator().manual_seed(samples)
        backward(IMLE(Normalised(0.5, "theta"), "central"), TopK(2), scores, samples, generator=generator)
        lengths.append(scores.grad.reshape(-1, 100, 6).mean(0).norm())
    torch.testing.assert_close(torch.stack(lengths), lengths[0].expand(3), rtol=0.05, atol=0)


def test_a_mean_has_one_over_s_of_the_gradient_of_a_sum():
    noise, grads = torch.randn(4, 3, 6), []
    for reduction in ("mean", "sum", "paper"):
        scores = torch.linspace(-1, 1, 18).reshape(3, 6).requires_grad_()
        z = PerturbAndMAP(scores, TopK(2), Replayed(noise), gradient=IMLE(1.0, reduction=reduction)).rsample((4,))
        loss = (z @ torch.arange(6.0)).sum(-1)
        (loss.mean() if reduction == "mean" else loss.sum()).backward()
        grads.append(scores.grad)
    torch.testing.assert_close(4 * grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])


def test_long_steps_end_at_the_sign_step():
    noise, dy = torch.randn(1, 3, 6), torch.randn(3, 6)
    z, sign = replay(torch.randn(3, 6), noise.transpose(0, 1), dy, TopK(2), IMLE(Sign()))
    torch.testing.assert_close(sign, z - TopK(2)(-dy))
    _, far = replay(torch.randn(3, 6), noise.transpose(0, 1), dy, TopK(2), IMLE(1e5, "central", scaled=False))
    torch.testing.assert_close(far, (TopK(2)(dy) - TopK(2)(-dy)) / 2)


def test_a_broken_solver_leaves_what_was_learnt():
    gradient, solver = AIMLE(), Counting(2)
    backward(gradient, solver, torch.randn(5, 6, requires_grad=True), 4)
    before = {name: x.clone() for name, x in gradient.named_buffers()}
    loss = PerturbAndMAP(torch.randn(5, 6, requires_grad=True), solver, gradient=gradient).rsample((4,)).sum()
    solver.fail.append(True)
    with pytest.raises(RuntimeError, match="the solver broke"):
        loss.backward()
    assert all(torch.equal(before[name], x) for name, x in gradient.named_buffers())


def test_a_probe_that_fails_is_made_again():
    calls = []

    def solver(scores):
        calls.append(len(scores))
        if len(calls) == 2:  # the samples were the first
            raise RuntimeError("the solver broke")
        return TopK(2)(scores)

    layer, scores = differentiable(solver), torch.randn(5, 6, requires_grad=True)
    with pytest.raises(RuntimeError, match="the solver broke"):
        layer(scores)
    assert layer.state_dict()["gradient.step._extra_state"] == 0
    layer(scores)
    assert len(calls) == 4


def test_samples_that_are_drawn_again_in_the_backward_pass():
    layer, scores = differentiable(TopK(2)), torch.randn(5, 6, requires_grad=True)
    for _ in range(10):
        checkpoint(
            lambda scores: layer(scores).square() @ torch.arange(6.0), scores, use_reentrant=False
        ).sum().backward()
    assert layer.gradient.step.known.all()
    assert layer.gradient.step.beta != 1


@pytest.mark.parametrize("samples", [None, 1, 3])
def test_an_error_in_the_backward_pass_names_the_instance(samples):
    calls = [0]

    def largest(scores, number):
        calls[0] += 1
        if calls[0] > 8 * (samples or 1) and number == 5:  # after the samples
            raise KeyError("lost")
        return scores == scores.max()

    layer = differentiable(PythonSolver(largest), IMLE(1.0), samples=samples)
    scores = torch.randn(2, 4, 6, requires_grad=True)
    loss = layer(scores, number=torch.arange(8).reshape(2, 4))[..., 1:, :].square().sum()  # no gradient in column 0
    with pytest.raises(RuntimeError, match=r"^instance \(1, 1\): KeyError: 'lost'$"):
        loss.backward()
    assert scores.grad is None


@pytest.mark.parametrize("gradient", [IMLE(), AIMLE(), BlackBox(), StraightThroughIdentity()])
def test_exact_laws_are_told_what_to_take(gradient):
    with pytest.raises(TypeError, match=r"got KSubset; .* take ByPerturbation"):
        gradient.rsample(KSubset(torch.zeros(3, 4), 2))


def test_no_instance_has_no_gradient():
    for step in (PaperStep(beta=1.0), Normalised(norms="batch")):
        scores = torch.zeros(0, 5, requires_grad=True)
        PerturbAndMAP(scores, TopK(2), gradient=IMLE(step)).rsample((3,)).sum().backward()
        assert scores.grad.shape == (0, 5)


def test_diagnostics_warn_of_steps_that_are_too_short():
    gradient = IMLE(1e-3)
    with pytest.raises(RuntimeError, match="expected a backward pass"):
        gradient.diagnostics()
    backward(gradient, TopK(2), 1e3 * torch.randn(50, 6, requires_grad=True), 2)
    with pytest.warns(UserWarning, match="too short for the scores"):
        found = gradient.diagnostics()
    assert found.zero_share > 0.99
    assert found.step_quantiles == pytest.approx((1e-3,) * 3)


def test_infinite_scores_stay_in_or_out():
    scores = torch.tensor([[torch.inf, -torch.inf, 0.0, 1.0, 2.0, 3.0]], requires_grad=True)
    for gradient in (AIMLE(), IMLE(1.0), StraightThroughIdentity()):
        law = PerturbAndMAP(scores, TopK(3), gradient=gradient)
        z = law.rsample((50,))
        (z @ torch.linspace(-1, 1, 6)).mean(0).sum().backward()
        assert z[..., 0].all()
        assert not z[..., 1].any()
        assert scores.grad.isfinite().all()


def test_names_and_noise_are_checked():
    for arguments in ({"difference": "backward"}, {"baseline": "none"}, {"reduction": "median"}, {"step": -1.0}):
        with pytest.raises(ValueError, match=r"must be one of|expected size >= 0"):
            IMLE(**arguments)
    with pytest.raises(ValueError, match="without noise, got Gumbel"):
        PerturbAndMAP(torch.randn(4), TopK(1), gradient=BlackBox(1.0)).rsample()
    with pytest.raises(ValueError, match="this law has no noise"):
        PerturbAndMAP(torch.randn(4, requires_grad=True), TopK(1), noise=None, gradient=AIMLE()).rsample()
