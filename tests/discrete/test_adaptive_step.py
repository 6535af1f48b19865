"""The step sizes that learn, against reference traces, and what they promise."""

from __future__ import annotations

import pytest
import torch
from discrete.replayed import Replayed

from golden_discrete import load
from logprob.discrete.adaptive_step import AdaptiveStep
from logprob.discrete.implicit import AIMLE, IMLE
from logprob.discrete.paper_step import PaperStep
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.solvers.top_k import TopK


def train(gradient, noises, golden, calls=120):
    """Gradients of the quadratic loss of the reference, scores fixed; after each call ``watch()``."""
    k, b = int(golden["k"]), golden["b"]
    for noise in noises[:calls].transpose(1, 2):
        theta = golden["theta"].clone().requires_grad_()
        z = PerturbAndMAP(theta, TopK(k), Replayed(noise), gradient=gradient).rsample((len(noise),))
        z.backward(2 * (z.detach() - b))
        yield theta.grad


@pytest.mark.parametrize(
    ("name", "difference", "beta", "settings"),
    [
        ("fwd", "forward", 0.0, {"rate": 0.01}),
        ("central", "central", 0.0, {"rate": 0.01}),
        ("central_mom", "central", 0.5, {"rate": 0.02, "momentum": 0.5, "target": 2.0, "decay": 0.8}),
    ],
)
def test_traces_of_the_paper(name, difference, beta, settings):
    golden = load("controller")
    step = PaperStep(**settings).double()
    step.beta.fill_(beta)
    trace = []
    for gradient in train(IMLE(step, difference, reduction="paper"), golden["noise"], golden):
        trace.append((step.beta.item(), step.density.item()))
        if len(trace) > 100:
            expected = golden[f"paper_{name}_grad_last20"][len(trace) - 101]
            torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-12)
    betas, densities = torch.tensor(trace, dtype=torch.float64).T
    torch.testing.assert_close(betas, golden[f"paper_{name}_beta"], rtol=0, atol=1e-9)
    torch.testing.assert_close(densities, golden[f"paper_{name}_ema"].double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["averaged_6_0p5", "per_sample_2_0", "averaged_5_10"])
def test_traces_of_the_corrected_controller(name):
    golden = load("controller")
    measure, target, beta = name.rsplit("_", 2)
    step = AdaptiveStep(float(target), measure=measure, reference="theta", largest=1e3).double()
    step.log_beta.fill_(max(float(beta.replace("p", ".")), 1e-4)).log_()
    trace = []
    for gradient in train(IMLE(step, "central", reduction="paper"), golden["corrected_noise"], golden):
        trace.append((step.beta.item(), step.density.item()))
        if len(trace) > 100:
            expected = golden[f"corrected_{name}_grad_last20"][len(trace) - 101]
            torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-9)
    betas, densities = torch.tensor(trace, dtype=torch.float64).T
    torch.testing.assert_close(betas, golden[f"corrected_{name}_beta"], rtol=0, atol=1e-9)
    torch.testing.assert_close(densities, golden[f"corrected_{name}_ema"], rtol=0, atol=1e-9)
