"""The law of a solver's answers to perturbed scores."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from replayed import BottomK, Counting, Replayed

from logprob.discrete.identity import StraightThroughIdentity
from logprob.discrete.implicit import AIMLE, IMLE
from logprob.discrete.noise import Gumbel, Logistic, Normal
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.solvers.function import FunctionSolver
from logprob.discrete.solvers.top_k import TopK
from logprob.distributions import IntractableError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("temperature", [0.5, 1.0, torch.tensor([0.3, 2.0])])
def test_one_of_n_with_gumbel_noise_is_the_categorical_law(temperature):
    scores = torch.randn(2, 5, generator=generator())
    q = PerturbAndMAP(scores, TopK(1), temperature=temperature, generator=generator(1))
    scale = temperature.unsqueeze(-1) if isinstance(temperature, torch.Tensor) else temperature
    truth = (scores / scale).softmax(-1)
    draws = 20_000
    error = (truth * (1 - truth) / draws).sqrt()
    assert ((q.marginals(draws) - truth).abs() < 4.5 * error).all()


def test_shapes_are_those_of_torch():
    q = PerturbAndMAP(torch.randn(3, 2, 7), TopK(2))
    assert (q.batch_shape, q.event_shape) == ((3, 2), (7,))
    assert q.rsample().shape == q.mode.shape == q.marginals(4).shape == (3, 2, 7)
    assert q.rsample((4, 5)).shape == q.sample((4, 5)).shape == q.draw_noise((4, 5)).shape == (4, 5, 3, 2, 7)
    z, log_prob = q.draw_with_log_prob((4,))
    assert z.shape == (4, 3, 2, 7)
    assert log_prob.shape == (4, 3, 2)
    wider = q.expand((6, 3, 2))
    assert wider.sample((4,)).shape == (4, 6, 3, 2, 7)
    assert wider.gradient is q.gradient
    assert q.support.check(q.sample((4,))).all()


def test_answers_are_those_of_the_solver():
    scores = torch.randn(4, 6, generator=generator())
    q = PerturbAndMAP(scores, TopK(3), generator=generator(1))
    assert torch.equal(q.mode, TopK(3)(scores))
    z = q.sample((5,))
    q = PerturbAndMAP(scores, TopK(3), generator=generator(1))
    assert torch.equal(z, TopK(3)(scores + q.draw_noise((5,))))
    without = PerturbAndMAP(scores, TopK(3), noise=None)
    assert torch.equal(without.sample((2,)), TopK(3)(scores).expand(2, 4, 6))


def test_instance_tensors_are_repeated_in_one_call():
    solver = Counting(2)
    scores, k = torch.randn(4, 3, 6), torch.randint(1, 3, (4, 3))
    q = PerturbAndMAP(scores, solver, instance={"k": k, "name": "graph"})
    q.sample((5,))
    ((seen, instance),) = solver.calls
    assert seen.shape == (60, 6)
    assert torch.equal(instance["k"], k.expand(5, 4, 3).flatten())
    assert instance["name"] == "graph"
    q.expand((2, 4, 3)).sample()
    assert torch.equal(solver.calls[1][1]["k"], k.expand(2, 4, 3).flatten())


@pytest.mark.parametrize("noise", [Gumbel(), Normal(), Logistic()])
def test_the_density_of_perturbed_scores(noise):
    """Its gradient is the noise's score; at the temperature it is that of the scaled law."""
    scores = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    temperature = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    q = PerturbAndMAP(scores, TopK(2), noise, temperature, generator=generator())
    z, log_prob = q.draw_with_log_prob((5,))
    again = PerturbAndMAP(scores, TopK(2), noise, temperature, generator=generator())
    eps = again.draw_noise((5,))
    assert not z.requires_grad
    assert torch.equal(z, again.solve(again.perturb(eps)))
    torch.testing.assert_close(log_prob, noise.log_prob(eps).sum(-1) - 4 * temperature.log())
    by_scores, by_temperature = torch.autograd.grad(log_prob.sum(), [scores, temperature])
    torch.testing.assert_close(by_scores, noise.score(eps).sum(0) / temperature.detach())
    torch.testing.assert_close(by_temperature, ((noise.score(eps) * eps).sum() - eps.numel()) / temperature.detach())


def test_what_is_intractable_says_what_to_use():
    q = PerturbAndMAP(torch.randn(5), TopK(2))
    for refused, instead in [
        (lambda: q.log_prob(q.sample()), "KSubset"),
        (lambda: q.log_partition, "log_partition"),
        (q.entropy, "draw_with_log_prob"),
        (lambda: q.mean, "marginals"),
        (lambda: q.variance, "marginals"),
        (lambda: PerturbAndMAP(q.scores, TopK(2), noise=None).draw_with_log_prob(), "Gumbel"),
        (lambda: PerturbAndMAP(q.scores, TopK(2), temperature=0.0).draw_with_log_prob(), "Gumbel"),
    ]:
        with pytest.raises(IntractableError, match=instead):
            refused()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": torch.ones(3, dtype=torch.long)}, "floating point, got torch.int64"),
        ({"scores": [1.0, 2.0]}, "floating point, got list"),
        ({"scores": torch.tensor(1.0)}, r"1 dimensions of the event, got \(\)"),
        ({"temperature": torch.ones(3)}, r"broadcasts to \(2,\), got \(3,\)"),
        ({"temperature": torch.ones(2, 1)}, r"broadcasts to \(2,\), got \(2, 1\)"),
        ({"temperature": -1.0}, ">= 0, got -1.0"),
        ({"instance": {"mask": torch.ones(4, dtype=torch.bool)}}, r"mask to have the batch shape \(2,\) in front"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PerturbAndMAP(**{"scores": torch.randn(2, 4), "solver": TopK(2)} | arguments)


@pytest.mark.parametrize("wrong", [lambda s: s[:, :1], lambda s: s.double()])
def test_an_answer_of_another_form_is_refused(wrong):
    class Wrong(TopK):
        def __call__(self, scores, **instance):
            return wrong(scores)

    with pytest.raises(ValueError, match=r"expected Wrong to give \(2, 4\) in torch.float32"):
        PerturbAndMAP(torch.randn(2, 4), Wrong(2)).sample()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("gradient", [AIMLE(), IMLE(0.5), StraightThroughIdentity()])
def test_the_type_of_scores_is_that_of_samples_and_gradients(dtype, gradient):
    scores = torch.randn(3, 6).to(dtype).requires_grad_()
    solver = FunctionSolver(lambda scores: TopK(2)(scores) if scores.dtype in (torch.float32, torch.float64) else None)
    q = PerturbAndMAP(scores, solver, gradient=gradient)
    z = q.rsample((4,))
    (z * torch.randn(6, dtype=dtype)).mean(0).sum().backward()
    assert z.dtype == q.mode.dtype == q.sample().dtype == q.marginals(3).dtype == scores.grad.dtype == dtype
    assert scores.grad.isfinite().all()


def test_half_precision_is_float32_inside():
    """With equal noise the gradient in bfloat16 is the rounded one of float32."""
    scores = torch.randn(3, 6).bfloat16()
    grads = []
    for dtype in (torch.bfloat16, torch.float32):
        theta = scores.to(dtype, copy=True).requires_grad_()
        gradient = IMLE(1e-2, "central", reduction="sum")
        z = PerturbAndMAP(theta, TopK(2), gradient=gradient, generator=generator()).rsample((400,))
        (z * torch.arange(6.0).to(dtype)).sum().backward()
        grads.append(theta.grad)
    assert torch.equal(grads[0], grads[1].bfloat16())


def test_under_autocast_scores_keep_their_precision():
    seen = []
    solver = FunctionSolver(lambda scores: seen.append((scores @ scores.T).dtype) or TopK(2)(scores))
    with torch.autocast("cpu", torch.bfloat16):
        scores = torch.nn.Linear(4, 6)(torch.randn(3, 4))
        z = PerturbAndMAP(scores, solver, gradient=AIMLE()).rsample((2,))
        z.float().sum().backward()
    assert scores.dtype == z.dtype == torch.bfloat16
    assert set(seen) == {torch.float32}


@pytest.mark.parametrize(
    "gradient", [IMLE(0.7), IMLE(0.7, "central"), StraightThroughIdentity(), StraightThroughIdentity(project=True)]
)
def test_minimising_is_maximising_the_negative(gradient):
    theta = torch.randn(3, 6, generator=generator(), dtype=torch.float64, requires_grad=True)
    noise = torch.randn(4, 3, 6, generator=generator(1), dtype=torch.float64)
    grads = []
    for scores, solver, replayed in ((theta, BottomK(2), Replayed(noise)), (-theta, TopK(2), Replayed(-noise))):
        z = PerturbAndMAP(scores, solver, replayed, gradient=gradient).rsample((4,))
        grads += torch.autograd.grad((z * torch.arange(6.0)).mean(0).sum(), theta)
    assert grads[0].any()
    assert torch.equal(*grads)


def test_temperatures_are_learned():
    """One of two and a linear loss: the gradient of its expectation is known."""
    scores, temperature = torch.tensor([0.0, 1.0]), torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    q = PerturbAndMAP(scores.double(), TopK(1), Gumbel(), temperature, IMLE(0.2, "central"), generator=generator())
    q.rsample((400_000,))[..., 1].mean().backward()
    p = torch.sigmoid(1 / temperature.detach())
    torch.testing.assert_close(temperature.grad, -p * (1 - p) / temperature.detach() ** 2, rtol=0.05, atol=0.0)


def test_pickle_and_copy_draw_the_same():
    q = PerturbAndMAP(torch.randn(3, 6), TopK(2), gradient=AIMLE(), generator=generator())
    twin, copied = pickle.loads(pickle.dumps(q)), copy.deepcopy(q)
    assert torch.equal(q.sample((3,)), twin.sample((3,)))
    assert torch.equal(q.sample((3,)), twin.sample((3,)))
    assert copied.sample().shape == (3, 6)
