"""Layers of solvers under torch.compile, torch.func, second derivatives, pickle and copy."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from replayed import Counting, Replayed
from torch.func import grad, jacrev, vmap

from logprob.discrete.differentiable import DifferentiableSolver, differentiable
from logprob.discrete.identity import StraightThroughIdentity
from logprob.discrete.implicit import AIMLE, IMLE
from logprob.discrete.noise import Gumbel
from logprob.discrete.paper_step import PaperStep
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.solvers.spanning_tree import SpanningTree
from logprob.discrete.solvers.top_k import TopK
from logprob.discrete.steps import Normalised

WEIGHTS = torch.linspace(-1, 1, 10)
GRADIENTS = {
    "fixed": lambda: IMLE(1.0),
    "central": lambda: IMLE(Normalised(1.0), "central"),
    "adaptive": AIMLE,
    "adaptive-forward": lambda: AIMLE(difference="forward"),
    "paper": lambda: IMLE(PaperStep(beta=0.5)),
    "identity": StraightThroughIdentity,
}


def gradients(function, layer, calls=3):
    """Of a loss, for some calls of ``function``, and what ``layer`` has learnt."""
    found = []
    for seed in range(calls):
        torch.manual_seed(seed)
        scores = torch.randn(5, 10).requires_grad_()
        (function(scores) * WEIGHTS).sum(-1).tanh().sum().backward()
        found.append(scores.grad)
    return torch.stack(found), {name: x for name, x in layer.state_dict().items() if isinstance(x, torch.Tensor)}


@pytest.mark.parametrize("samples", [None, 3])
@pytest.mark.parametrize("name", ["fixed", "adaptive", "paper", "identity"])
def test_compiled_whole_it_does_the_same(name, samples):
    alone = name == "adaptive" and samples is None  # whose automatic target is probed more often in compiled code
    layer = differentiable(TopK(3), AIMLE(target=2.0) if alone else GRADIENTS[name](), samples=samples)
    twin = copy.deepcopy(layer)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    found, state = gradients(compiled, layer)
    expected, expected_state = gradients(twin, twin)
    assert torch.equal(found, expected)
    torch.testing.assert_close(state, expected_state)


def test_compiled_it_probes_the_law_of_single_samples():
    layer = differentiable(SpanningTree(), AIMLE())
    torch._dynamo.reset()
    found, state = gradients(torch.compile(layer, fullgraph=True, backend="aot_eager"), layer)
    assert found.isfinite().all()
    assert state["gradient.step.log_beta"] != 0


@pytest.mark.parametrize("solver", [TopK(3), Counting(3)], ids=["torch", "python"])
@pytest.mark.parametrize("name", GRADIENTS)
def test_functional_gradients_are_the_usual_ones(name, solver):
    noise = torch.randn(4, 5, 10)
    law = lambda scores, gradient, noise: PerturbAndMAP(scores, solver, Replayed(noise), gradient=gradient)  # noqa: E731

    def loss(scores, gradient, noise):
        return (law(scores, gradient, noise).rsample((4,)) * WEIGHTS).sum(-1).tanh().mean(0).sum()

    scores, usual = torch.randn(5, 10, requires_grad=True), GRADIENTS[name]()
    loss(scores, usual, noise).backward()
    functional, mapped, outside = (GRADIENTS[name]() for _ in range(3))
    torch.testing.assert_close(grad(loss)(scores.detach(), functional, noise), scores.grad)
    assert_same_state(functional, usual)
    if name == "paper":
        return  # its step depends on the batch, of which a mapped function sees one instance
    each = vmap(grad(loss), in_dims=(0, None, 1))(scores.detach(), mapped, noise)
    torch.testing.assert_close(each, scores.grad)
    assert_same_state(mapped, usual)
    total = lambda scores: vmap(loss, in_dims=(0, None, 1))(scores, outside, noise).sum()  # noqa: E731
    torch.testing.assert_close(grad(total)(scores.detach()), scores.grad)


def assert_same_state(one, other):
    keys = [key for key, value in one.state_dict().items() if isinstance(value, torch.Tensor)]
    torch.testing.assert_close([one.state_dict()[key] for key in keys], [other.state_dict()[key] for key in keys])


def test_jacobians_are_rows_of_gradients():
    noise, scores, gradient = torch.randn(4, 5), torch.randn(4, 5), IMLE(1.0)
    jacobian = jacrev(lambda scores: PerturbAndMAP(scores, TopK(2), Replayed(noise), gradient=gradient).rsample())(
        scores
    )
    for i in range(5):
        theta = scores.clone().requires_grad_()
        PerturbAndMAP(theta, TopK(2), Replayed(noise), gradient=gradient).rsample()[:, i].sum().backward()
        torch.testing.assert_close(jacobian[:, i].sum(1), theta.grad)


def test_mapped_instances_bring_their_own_arguments():
    scores, k = torch.randn(4, 6), torch.tensor([1, 2, 3, 4])
    solve = lambda scores, k: PerturbAndMAP(scores, TopK(1), noise=None, instance={"k": k}).mode  # noqa: E731
    assert torch.equal(vmap(solve)(scores, k).sum(-1), k.float())
    shared = vmap(solve, in_dims=(0, None))(scores, torch.tensor(2))
    assert torch.equal(shared.sum(-1), torch.full((4,), 2.0))


def test_a_second_backward_pass_sees_the_scale_and_takes_answers_as_constants():
    """Of a normalised step, 1 / lambda = |g| / (beta |u|)."""
    noise, scores = torch.randn(3, 2, 6).double(), torch.randn(2, 6).double().requires_grad_()
    weights = torch.randn(6).double().requires_grad_()

    def estimate(scores, weights):
        law = PerturbAndMAP(scores, TopK(2), Replayed(noise), gradient=IMLE(Normalised(1.0), "central"))
        return torch.autograd.grad((law.rsample((3,)) * weights).mean(0).sum(), scores, create_graph=True)[0]

    assert torch.autograd.gradcheck(estimate, (scores, weights), eps=1e-7)
    law = PerturbAndMAP(scores, TopK(2), Replayed(noise), gradient=IMLE(1.0))
    (fixed,) = torch.autograd.grad((law.rsample((3,)) * weights).sum(), scores, create_graph=True)
    assert not fixed.requires_grad


def test_four_dimensions_in_another_order_and_expanded_gradients():
    scores = torch.randn(6, 3, 2, 4).permute(3, 1, 2, 0).requires_grad_()  # (4, 3, 2, 6)
    flat = scores.detach().reshape(24, 6).requires_grad_()
    noise = torch.randn(5, 24, 6)
    for theta, eps in ((scores, noise.reshape(5, 4, 3, 2, 6)), (flat, noise)):
        law = PerturbAndMAP(theta, TopK(2), Replayed(eps), gradient=IMLE(2.0, "central"))
        z = law.rsample((5,))
        z.backward(torch.linspace(-1, 1, 6).expand_as(z))
    torch.testing.assert_close(scores.grad.reshape(24, 6), flat.grad)


def test_pickle_and_copy_keep_what_was_learnt():
    layer = differentiable(TopK(3), AIMLE(), samples=2)
    gradients(layer, layer)
    for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert isinstance(twin, DifferentiableSolver)
        assert torch.equal(gradients(twin, twin)[0], gradients(copy.deepcopy(layer), layer)[0])


def test_a_generator_reproduces_and_leaves_the_global_stream_alone():
    layer, scores = differentiable(TopK(3)), torch.randn(4, 10)
    before = torch.get_rng_state()
    one, other = (layer(scores, generator=torch.Generator().manual_seed(3), samples=6) for _ in range(2))
    assert torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_probes_draw_no_random_numbers():
    streams = []
    for target in ("auto", 2.0):
        torch.manual_seed(0)
        scores = torch.randn(4, 10, requires_grad=True)
        for _ in range(3):
            PerturbAndMAP(scores, TopK(3), Gumbel(), gradient=AIMLE(target)).rsample().sum().backward()
        streams.append(torch.get_rng_state())
    assert torch.equal(*streams)
