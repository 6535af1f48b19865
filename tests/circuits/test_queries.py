"""Marginals, missing values, repetitions, and distributions that outlive a change of the parameters."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch

from logprob.circuits import (
    BSpline,
    Categorical,
    Circuit,
    Gaussian,
    LogNormal,
    Normal,
    distribution,
    linear_tree,
    random_binary_tree,
)

STATES = torch.cartesian_prod(*[torch.arange(3)] * 4)


def build(inputs, layer="cp", squared=True, variables=4, repetitions=2):
    graph = random_binary_tree(variables, repetitions=repetitions, seed=3)
    return Circuit(graph, inputs, units=3, layer=layer, squared=squared).double()


@pytest.mark.parametrize("layer", ["cp", "tucker"])
@pytest.mark.parametrize("squared", [True, False])
def test_every_marginal_of_a_discrete_circuit_by_enumeration(squared, layer):
    p = build(Categorical(3), layer, squared)()
    joint = p.log_prob(STATES).exp().reshape(3, 3, 3, 3)
    for size in range(1, 4):
        for kept in itertools.combinations(range(4), size):
            expected = joint.sum([v for v in range(4) if v not in kept])
            rows = torch.tensor(list(itertools.product(range(3), repeat=size)))
            got = p.marginal(kept).log_prob(rows).exp().reshape(expected.shape)
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("inputs", [Gaussian(log_scale_spread=0.2), BSpline(8, 2, (-3.0, 3.0))], ids=str)
@pytest.mark.parametrize("squared", [True, False])
def test_marginals_of_a_continuous_circuit_by_quadrature(squared, inputs):
    p = build(inputs, squared=squared, variables=3).requires_grad_(False)()
    node, weight = np.polynomial.legendre.leggauss(400)
    width = 3.0 if isinstance(inputs, BSpline) else 12.0
    node, weight = torch.from_numpy(node * width), torch.from_numpy(weight * width)
    rest = torch.randn(5, 2).double().clamp(-2.9, 2.9)
    for variable in range(3):
        kept = [v for v in range(3) if v != variable]
        full = torch.empty(5, 400, 3, dtype=torch.float64)
        full[..., kept], full[..., variable] = rest[:, None], node
        expected = (p.log_prob(full).exp() * weight).sum(-1)
        torch.testing.assert_close(p.marginal(kept).log_prob(rest).exp(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("layer", ["cp", "tucker"])
@pytest.mark.parametrize("squared", [True, False])
def test_missing_values(squared, layer):
    model = build(Gaussian(), layer, squared)
    p = model()
    x = torch.randn(20, 4).double()
    holes = torch.rand(20, 4) < 0.4
    holes[0], holes[1] = True, False
    x_missing = x.masked_fill(holes, torch.nan)
    got = p.log_prob(x_missing)
    assert abs(got[0].item()) < 1e-10
    torch.testing.assert_close(got[1], p.log_prob(x[1]))
    for row, hole, value in zip(x, holes, got, strict=True):
        kept = [v for v in range(4) if not hole[v]]
        torch.testing.assert_close(p.marginal(kept).log_prob(row[kept]), value)
    p.log_prob(x_missing).sum().backward()
    assert all(q.grad.isfinite().all() and (q.grad != 0).any() for q in model.parameters())


def test_missing_values_have_the_gradient_of_the_marginal():
    model = build(Gaussian(), variables=3, repetitions=1)
    names = [name for name, _ in model.named_parameters()]
    x = torch.tensor([[0.3, torch.nan, -1.0], [torch.nan, torch.nan, 0.5]]).double()

    def total(*values):
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), ()).log_prob(x).sum()

    assert torch.autograd.gradcheck(total, tuple(p.detach().clone().requires_grad_() for p in model.parameters()))


def test_negative_codes_and_nan_mean_the_same():
    p = build(Categorical(3))()
    codes = torch.tensor([[0, -1, 2, 1], [-1, -1, -1, -1]])
    floats = codes.double().masked_fill(codes < 0, torch.nan)
    torch.testing.assert_close(p.log_prob(codes), p.log_prob(floats), rtol=0, atol=0)


@pytest.mark.parametrize("inputs", [Categorical(3), Gaussian(), BSpline(5, 2, (0.0, 2.0))], ids=str)
def test_missing_values_are_never_guessed_where_python_cannot_branch(inputs):
    torch.compiler.reset()
    p = build(inputs).requires_grad_(False)()
    x = torch.tensor([[0.5, 1.0, torch.nan, 1.0], [1.0, 1.0, 1.0, 1.0]]).double().round()
    for traced in (torch.func.vmap(p.log_prob), torch.compile(p.log_prob, backend="eager", fullgraph=True)):
        got = traced(x)
        assert got[0].isnan()
        torch.testing.assert_close(got[1], p.log_prob(x[1]))


def test_missing_of_mixed_variables():
    model = Circuit(linear_tree(3), [Categorical(3), Gaussian(log_scale_spread=0.2), Categorical(2)], units=4).double()
    p = model()
    x = torch.tensor([[torch.nan, 0.4, 1.0]], dtype=torch.float64)
    filled = x.repeat(3, 1)
    filled[:, 0] = torch.arange(3)
    torch.testing.assert_close(p.log_prob(x).exp(), p.log_prob(filled).exp().sum(0, keepdim=True))


@pytest.mark.parametrize("graph", [linear_tree(6, repetitions=4), random_binary_tree(8, depth=2, repetitions=3)])
def test_repetitions_are_all_alive_and_exchangeable(graph):
    model = Circuit(graph, Gaussian(), units=3).double()
    x = torch.randn(10, graph.variables).double()
    p = model()
    p.log_prob(x).sum().backward()
    for parameter in model.parameters():
        per_fold = parameter.grad.flatten(1) if parameter.dim() > 1 else parameter.grad.unsqueeze(-1)
        assert (per_fold != 0).any(1).all(), "a fold without gradient"
    assert len(model.repetition_logits) == len(graph.roots)
    single = [log_score.exp() for log_score in 2 * p._state.log_values(x.T, None)]
    torch.testing.assert_close(p.unnormalized_log_prob(x).exp(), sum(single))


def test_a_distribution_keeps_its_own_parameters():
    model = build(Gaussian())
    x = torch.randn(6, 4).double()
    before = model()
    expected = before.log_prob(x).detach()
    state = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    (-model().log_prob(x).mean()).backward()
    optimizer.step()
    torch.testing.assert_close(before.log_prob(x), expected, rtol=0, atol=0)
    assert not torch.equal(model().log_prob(x), expected)
    model.load_state_dict(state)
    torch.testing.assert_close(model().log_prob(x), expected, rtol=0, atol=0)
    torch.testing.assert_close(copy.deepcopy(model).eval()().log_prob(x), expected, rtol=0, atol=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    fresh = model()
    torch.testing.assert_close(fresh.log_partition, distribution._log_partition(fresh._state), rtol=1e-12, atol=1e-12)


def test_the_normaliser_is_computed_once(monkeypatch):
    calls = []
    original = distribution._log_partition
    monkeypatch.setattr(distribution, "_log_partition", lambda state: (calls.append(1), original(state))[1])
    model = build(Gaussian())
    x = torch.randn(6, 4).double()
    p = model()
    for _ in range(3):
        p.log_prob(x)
        p.marginal([0]).log_prob(x[:, :1])
    assert len(calls) == 1
    trained = model()
    with torch.no_grad():
        trained.log_prob(x)
    assert len(calls) == 2
    (-trained.log_prob(x).mean()).backward()  # a value without a graph is not reused where one is needed
    assert len(calls) == 3
    assert all((q.grad != 0).any() for q in model.parameters())


def test_the_normaliser_is_evaluated_in_double_precision():
    """Units in nearly equal pairs of opposite weight cancel; float32 would be off by 1e-2 and more."""
    model = Circuit(random_binary_tree(16), Gaussian(), units=8)
    with torch.no_grad():
        loc = model.inputs.groups[0].loc
        loc[:, 1::2] = loc[:, ::2] + 1e-3
        model.inputs.groups[0].log_scale.zero_()
        for weight in model.weights[:-1]:
            weight[..., 1::2] = -weight[..., ::2]
        log_partition = model().log_partition
        exact = copy.deepcopy(model).double()().log_partition
    torch.testing.assert_close(log_partition.double(), exact, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"squared": False, "weights": "signed"}, "must be squared"),
        ({"squared": False, "init": Normal()}, "negative"),
        ({"units": 0}, "units"),
        ({"layer": "cpt"}, "layer must be one of"),
        ({"inputs": [Gaussian()] * 3}, "expected one input family or 4"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    arguments = {"inputs": Gaussian(), "init": LogNormal()} | arguments
    with pytest.raises(ValueError, match=message):
        Circuit(linear_tree(4), **arguments)


def test_wrong_values_are_refused():
    p = build(Categorical(3))()
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 4\)"):
        p.log_prob(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"codes 0\.\.2 of variable 1"):
        p.log_prob(torch.tensor([[0, 3, 0, 0]]))
    with pytest.raises(ValueError, match=r"codes 0\.\.2 of variable 2"):
        p.log_prob(torch.tensor([[0.0, 1.0, 0.5, 0.0]]))
    with pytest.raises(ValueError, match="distinct"):
        p.marginal([0, 0])
    with pytest.raises(NotImplementedError, match="no sampler"):
        p.sample()


def test_classes_in_place_of_instances_are_refused():
    with pytest.raises(TypeError, match="such as Gaussian"):
        Circuit(linear_tree(4), Gaussian)
    with pytest.raises(TypeError, match="expected InputFamily, got str"):
        Circuit(linear_tree(4), "Gaussian")
    with pytest.raises(TypeError, match="such as Normal"):
        Circuit(linear_tree(4), Gaussian(), init=Normal)


def test_integers_are_missing_only_where_they_are_codes():
    p = build(Gaussian())()
    x = torch.tensor([[0, -1, 2, 1]])
    torch.testing.assert_close(p.log_prob(x), p.log_prob(x.double()))


def test_what_a_distribution_cannot_give_says_so():
    p = build(Gaussian())()
    assert "squared" in repr(p)
    for ask in (lambda: p.mean, lambda: p.variance, p.entropy):
        with pytest.raises(NotImplementedError, match="CircuitDistribution has no"):
            ask()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool])
def test_marginals_take_integers_of_any_kind(dtype):
    mixed = Circuit(linear_tree(3), [Gaussian(), Gaussian(), Categorical(2)], units=4)()
    states = torch.arange(2).unsqueeze(-1).to(dtype)
    torch.testing.assert_close(mixed.marginal([2]).log_prob(states).exp().sum().item(), 1.0)
    many = Circuit(linear_tree(2), Categorical(256), units=2)()
    codes = torch.arange(2 if dtype is torch.bool else 100).unsqueeze(-1)
    torch.testing.assert_close(many.marginal([1]).log_prob(codes.to(dtype)), many.marginal([1]).log_prob(codes))


@pytest.mark.parametrize("bad", [5.0, 1.5, -1.0])
def test_codes_that_are_no_states_are_nan_where_python_cannot_branch(bad):
    p = build(Categorical(4))()
    x = torch.tensor([[0.0, bad, 2.0, 1.0], [0.0, 1.0, 2.0, 1.0]])
    with torch.no_grad():
        got = torch.func.vmap(p.log_prob)(x)
    assert got[0].isnan()
    assert got[1].isfinite()
