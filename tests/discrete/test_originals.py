"""The published decorators, on the published numbers."""

from __future__ import annotations

import pytest
import torch
from golden_discrete import load
from replayed import Replayed

from logprob.discrete.originals import AdaptiveTargetDistribution, TargetDistribution, aimle, imle, ste
from logprob.discrete.solvers.top_k import TopK


def top(k, sign=1.0):
    return lambda theta: TopK(k)(sign * theta)


SCALED = TargetDistribution(do_gradient_scaling=True)
CASES = {
    "fwd_b1_scaled": (imle, {"target_distribution": SCALED}),
    "fwd_b1_unscaled": (imle, {}),
    "fwd_b1000_t0_10_unscaled": (
        imle,
        {
            "target_distribution": TargetDistribution(beta=1000.0),
            "input_noise_temperature": 0.0,
            "target_noise_temperature": 10.0,
        },
    ),
    "fwd_a05_b1_t1_2_scaled": (
        imle,
        {"target_distribution": TargetDistribution(0.5, 1.0, True), "target_noise_temperature": 2.0},
    ),
    "recompute_a05_b1_t1_2_scaled": (
        aimle,
        {"target_distribution": TargetDistribution(0.5, 1.0, True), "target_noise_temperature": 2.0},
    ),
    "central_b1_scaled": (aimle, {"target_distribution": SCALED, "symmetric_perturbation": True}),
    "min_fwd_b1_scaled": (imle, {"target_distribution": SCALED, "is_minimization": True}),
    "ste_t03": (ste, {"noise_temperature": 0.3}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("samples", [1, 6])
def test_published_numbers_in_the_published_layout(name, samples):
    golden = load(f"estimators_topk_s{samples}")
    decorator, settings = CASES[name]
    noise = Replayed(golden["noise"].transpose(0, 1))
    function = top(int(golden["k"]), -1.0 if name.startswith("min") else 1.0)
    theta = golden["theta"].clone().requires_grad_()
    z = decorator(noise_distribution=noise, nb_samples=samples, **settings)(function)(theta)
    z.backward(golden["dy"])
    assert torch.equal(z, golden[f"z_{name}"])
    torch.testing.assert_close(theta.grad, golden[f"grad_{name}"], rtol=0, atol=1e-10)


def test_marginal_samples_are_further_samples():
    golden = load("estimators_topk_s6")
    theta = golden["theta"].clone().requires_grad_()
    layer = aimle(
        top(int(golden["k"])),
        SCALED,
        Replayed(golden["noise"].transpose(0, 1)),
        nb_samples=3,
        nb_marginal_samples=2,
        symmetric_perturbation=True,
    )
    layer(theta).backward(golden["dy"])
    torch.testing.assert_close(theta.grad, golden["grad_marginal_central_b1_scaled"], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("difference", "symmetric"), [("fwd", False), ("central", True)])
def test_the_adaptive_target_follows_the_published_trace(difference, symmetric):
    golden = load("controller")
    target = AdaptiveTargetDistribution(initial_beta=0.0, beta_update_step=0.01)
    layer = aimle(top(int(golden["k"])), target, symmetric_perturbation=symmetric)
    layer.gradient.step.double()
    for noise, beta in zip(golden["noise"], golden[f"paper_{difference}_beta"], strict=True):
        layer.noise = Replayed(noise.transpose(0, 1))
        theta = golden["theta"].clone().requires_grad_()
        z = layer(theta)
        z.backward(2 * (z.detach() - golden["b"]))
        torch.testing.assert_close(layer.gradient.step.beta, beta, rtol=0, atol=1e-9)


def test_further_arguments_reach_the_function():
    layer = imle(lambda theta, k: TopK(1)(theta, k=k), nb_samples=3)
    theta, k = torch.randn(2, 5), torch.tensor([1, 4])
    for z in (layer(theta, k=k), layer(theta, k)):
        assert z.sum(-1).tolist() == [1, 1, 1, 4, 4, 4]
    with pytest.raises(TypeError, match="too many positional arguments"):
        layer(theta, k, k)


@pytest.mark.parametrize("samples", [1, 6])
def test_both_decorators_agree_on_forward_differences(samples):
    golden = load(f"estimators_topk_s{samples}")
    grads = []
    for decorator in (imle, aimle):
        theta = golden["theta"].clone().requires_grad_()
        noise = Replayed(golden["noise"].transpose(0, 1))
        decorator(top(int(golden["k"])), SCALED, noise, samples)(theta).backward(golden["dy"])
        grads.append(theta.grad)
    assert torch.equal(*grads)
