"""The step sizes that learn, against reference traces, and what they promise."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from golden_discrete import load
from replayed import Replayed, train_in_a_process

from logprob.discrete.adaptive_step import AdaptiveStep
from logprob.discrete.density import own_turnover
from logprob.discrete.implicit import AIMLE, IMLE
from logprob.discrete.noise import Gumbel
from logprob.discrete.paper_step import PaperStep
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.solvers.function import FunctionSolver
from logprob.discrete.solvers.spanning_tree import SpanningTree
from logprob.discrete.solvers.top_k import TopK
from logprob.discrete.steps import Normalised


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


def quadratic(gradient, theta, b, solver, samples, noise=None):
    """One call for ``E |z - b|^2``; returns the gradient."""
    theta = theta.clone().requires_grad_()
    law = PerturbAndMAP(theta, solver, Gumbel() if noise is None else Replayed(noise), gradient=gradient)
    ((law.rsample((samples,)) - b) ** 2).sum(-1).mean(0).sum().backward()
    return theta.grad


def problem(instances=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(instances, 10, generator=generator), torch.randn(instances, 10, generator=generator).abs()


@pytest.mark.parametrize("target", [0.5, 4.0])
def test_the_density_settles_at_its_target(target):
    torch.manual_seed(0)
    theta, b = problem()
    betas = []
    for samples, start in ((1, 0.0), (10, 10.0)):
        gradient = IMLE(AdaptiveStep(target, start, reference="theta", largest=1e3), "central")
        densities, logs = [], []
        for _ in range(300):
            quadratic(gradient, theta, b, TopK(5), samples)
            densities.append(gradient.record.read().density)  # steps may be short at first
            logs.append(gradient.step.log_beta.item())
        assert sum(densities[150:]) / 150 == pytest.approx(target, rel=0.05)
        betas.append(math.exp(sum(logs[150:]) / 150))
    assert betas[0] == pytest.approx(betas[1], rel=0.1)


SPACES = {"k = 5 of 10": TopK(5), "one of 10": TopK(1), "trees of 5 vertices": SpanningTree()}


@pytest.mark.parametrize("solver", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize(("samples", "share"), [(1, 0.8), (10, 0.9)])
def test_the_automatic_step_is_nearly_the_best(solver, samples, share):
    """Cosine to the exact gradient of the exponential family, beside the best of a scan of fixed steps."""
    torch.manual_seed(0)
    theta = torch.randn(64, 10)
    loss = TanhNetwork(64)
    exact = exact_gradient(theta, solver.states((10,)), loss)

    def cosine(gradient):
        scores = theta.clone().requires_grad_()
        loss(PerturbAndMAP(scores, solver, gradient=gradient).rsample((samples,))).mean(0).sum().backward()
        return torch.cosine_similarity(scores.grad, exact, dim=-1).mean().item()

    scan = torch.logspace(math.log10(0.01), math.log10(30), 14).tolist()
    best = max(sum(cosine(IMLE(Normalised(beta), "central")) for _ in range(12)) / 12 for beta in scan)
    gradient, cosines, betas = AIMLE(), [], []
    for _ in range(140):
        cosines.append(cosine(gradient))
        betas.append(gradient.step.beta.item())
    assert sum(cosines[-40:]) / 40 >= share * best
    assert 1e-3 < min(betas) < max(betas) < 29


class TanhNetwork:
    """``tanh(z W) v`` of each instance."""

    def __init__(self, instances):
        self.w, self.v = torch.randn(instances, 10, 16), torch.randn(instances, 16)

    def __call__(self, z):
        return (torch.einsum("...bn,bnh->...bh", z, self.w).tanh() * self.v).sum(-1)


def exact_gradient(theta, states, f):
    """``Cov(f(z), z)`` of the exponential family."""
    p = (states @ theta.T).softmax(0)  # (M, B)
    values = f(states.unsqueeze(1).expand(-1, len(theta), -1))
    joint = torch.einsum("mb,mb,mn->bn", p, values, states)
    return joint - (p * values).sum(0).unsqueeze(-1) * (p.T @ states)


def test_turnover_is_that_of_two_independent_samples():
    """Of one-of-n and Gumbel noise: ``2 sum_j p_j (1 - p_j)``; also where the solver is not said to be binary."""
    theta = torch.randn(500, 10, generator=torch.Generator().manual_seed(0))
    p = theta.softmax(-1)
    truth = (2 * p * (1 - p)).sum(-1).mean()
    real = FunctionSolver(lambda scores: TopK(1)(scores), binary=False)
    for solver, samples in ((TopK(1), 1), (TopK(1), 40), (real, 40)):
        q = PerturbAndMAP(theta, solver, generator=torch.Generator().manual_seed(1))
        noise = q.draw_noise((samples,))
        differ, room, count = own_turnover(q, noise, q.solve(q.perturb(noise)))
        assert (differ / count).item() == pytest.approx(truth.item(), abs=0.12 if samples == 1 else 0.03)
        assert (room, count) == (1000, 500)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("make", [AIMLE, lambda: IMLE(PaperStep(beta=0.3, rate=0.1, momentum=0.5))])
def test_a_checkpoint_resumes_bit_by_bit(make, samples):
    theta, b = problem()
    gradient, resumed = make(), make()
    grads = {}
    for name, model in (("whole", gradient), ("resumed", resumed)):
        torch.manual_seed(0)
        for call in range(20):
            if call == 11 and name == "whole":
                checkpoint = copy.deepcopy(gradient.state_dict())
            if call == 11 and name == "resumed":
                resumed = make()
                resumed.load_state_dict(checkpoint)
                model = resumed
            grads[name] = quadratic(model, theta, b, TopK(5), samples)
    assert torch.equal(grads["whole"], grads["resumed"])
    for key, value in gradient.state_dict().items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(resumed.state_dict()[key])), key


def test_an_instance_does_not_see_the_others():
    theta, b = problem()
    noise = torch.randn(4, 32, 10)
    grads = []
    for _ in range(2):
        grads.append(quadratic(AIMLE(), theta, b, TopK(5), 4, noise)[7].clone())
        others = torch.arange(32) != 7
        theta[others], b[others], noise[:, others] = 3 * theta[others].flip(0), b[others] + 1, -noise[:, others]
    assert torch.equal(*grads)


def test_only_training_teaches():
    theta, b = problem()
    gradient = AIMLE()
    quadratic(gradient.eval(), theta, b, TopK(5), 4)
    gradient.train().step.freeze()
    quadratic(gradient, theta, b, TopK(5), 4)
    assert gradient.step.log_beta == 0
    gradient.step.freeze(False)
    quadratic(gradient, theta, b, TopK(5), 4)
    assert gradient.step.log_beta != 0


def test_instances_without_gradient_do_not_count():
    theta, b = problem()
    densities = []
    for padding in (0, 32):
        gradient = IMLE(AdaptiveStep(2.0))
        scores = torch.cat([theta, torch.randn(padding, 10)]).requires_grad_()
        noise = torch.cat([torch.linspace(-1, 1, 1280).sin().reshape(4, 32, 10), torch.randn(4, padding, 10)], 1)
        z = PerturbAndMAP(scores, TopK(5), Replayed(noise), gradient=gradient).rsample((4,))
        ((z[:, :32] - b) ** 2).sum(-1).mean(0).sum().backward()
        densities.append(gradient.step.density.clone())
    assert torch.equal(*densities)


def test_averages_of_samples_are_what_is_counted():
    """All of them is ``averaged``; a number that does not divide them is an error."""
    theta, b = problem()
    noise = torch.randn(6, 32, 10)
    found = []
    for settings in ({"measure": "averaged"}, {"average": 6}, {"average": 2}, {}, {"measure": "turnover"}):
        gradient = IMLE(AdaptiveStep(0.5, **settings))
        quadratic(gradient, theta, b, TopK(5), 6, noise)
        found.append(gradient.step.density.item())
    assert found[0] == found[1] > found[2] > found[3]
    assert found[4] == pytest.approx(found[3] / 10)  # of five ones on each side
    with pytest.raises(ValueError, match="a number of samples that 4 divides, got 6"):
        quadratic(IMLE(AdaptiveStep(2.0, average=4)), theta, b, TopK(5), 6, noise)


def test_the_state_is_not_kept_in_half_precision():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), IMLE(AdaptiveStep(beta=0.7))).bfloat16()
    assert model[0].weight.dtype == torch.bfloat16
    assert model[1].step.log_beta == torch.tensor(math.log(0.7))
    assert model.double()[1].step.log_beta.dtype == torch.float64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "own"}, "target must be 'auto' or a number > 0, got 'own'"),
        ({"target": 0.0}, "target must be"),
        ({"measure": "share"}, "measure must be one of per_sample, averaged, turnover"),
        ({"measure": "averaged"}, "target='auto' is one of measure='per_sample'"),
        ({"beta": 31.0}, "<= largest"),
        ({"decay": 1.0}, "0 <= decay < 1"),
        ({"reference": "scores"}, "reference must be one of perturbed, theta, centered"),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveStep(**arguments)
    with pytest.raises(ValueError, match="expected beta >= 0, rate > 0"):
        PaperStep(rate=0.0)


@pytest.mark.slow  # starts two processes, which import torch
def test_processes_agree(tmp_path):
    results = [str(tmp_path / f"{rank}.pt") for rank in range(2)]
    torch.multiprocessing.spawn(train_in_a_process, (str(tmp_path / "store"), results), nprocs=2)
    one, other = map(torch.load, results)
    assert one.keys() == {"step.log_beta", "step.means", "step.known"}
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert one["step.log_beta"] != 0
