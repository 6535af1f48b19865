"""Finite differences of solvers, against the published code and themselves."""

from __future__ import annotations

import pytest
import torch
from discrete.replayed import BottomK, Replayed

from golden_discrete import load
from logprob.discrete.identity import Identity
from logprob.discrete.implicit import AIMLE, IMLE, BlackBox
from logprob.discrete.paper_step import PaperStep
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.solvers.grid_path import GridPath
from logprob.discrete.solvers.spanning_tree import SpanningTree
from logprob.discrete.solvers.top_k import TopK
from logprob.discrete.steps import Fixed

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
    "ste": (Identity(**PAPER), 1.0),
    "ste_t03": (Identity(**PAPER), 0.3),
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


@pytest.mark.parametrize("samples", ["s1", "s6"])
@pytest.mark.parametrize("name", CASES)
def test_top_k_as_published(name, samples):
    golden = load(f"estimators_topk_{samples}")
    if f"grad_{name}" not in golden:
        pytest.skip("not among the reference numbers")
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
