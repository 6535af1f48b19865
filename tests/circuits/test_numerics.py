"""Where floating point is at its end: high dimension, far tails, complementary factors, exact zeros."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch

from logprob.circuits import (
    Binomial,
    BSpline,
    Categorical,
    Circuit,
    Gaussian,
    RegionGraph,
    linear_tree,
    quad_tree,
    random_binary_tree,
    signed_log,
)

GRAPHS = {"random": random_binary_tree, "linear": linear_tree}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("graph", GRAPHS)
def test_784_variables_have_no_floor(graph, squared, dtype):
    """Each row far below any clamp; four rows, four finite values, and every parameter gets a finite gradient."""
    model = Circuit(GRAPHS[graph](784), Gaussian(), units=8, squared=squared).to(dtype)
    x = torch.randn(4, 784).to(dtype) * torch.tensor([[1.0], [2.0], [5.0], [20.0]]).to(dtype)
    log_prob = model().log_prob(x)
    assert log_prob.isfinite().all()
    assert log_prob.max() < -1000
    assert len(set(log_prob.tolist())) == 4
    log_prob.sum().backward()
    assert all(p.grad.isfinite().all() and (p.grad != 0).any() for p in model.parameters())


def reference_log_abs(state, x):
    """``log|c|`` in signed logarithms of every unit, without the scaled pass."""
    return signed_log.log_magnitude(state.roots(signed_log, state.leaves.signed_log(x.T, None)))


@pytest.mark.parametrize("layer", ["cp", "tucker"])
@pytest.mark.parametrize("inputs", [Gaussian(), Categorical(4), BSpline(8, 2, (-4.0, 4.0))], ids=str)
def test_fast_path_equals_signed_logarithms(inputs, layer):
    graph = random_binary_tree(9, repetitions=2)
    model = Circuit(graph, inputs, units=5, layer=layer, init=None).double()
    with torch.no_grad():
        for weight in model.weights:
            weight.normal_()
    x = torch.randint(0, 4, (30, 9)).double() if inputs.states else torch.randn(30, 9).double()
    state = model()._state
    torch.testing.assert_close(state.log_values(x.T, None), reference_log_abs(state, x), rtol=1e-10, atol=1e-10)


def complementary(distance, dtype, deep):
    """Factors whose large units never meet: their product leaves floating point although its value does not.

    With ``deep``, the units are flushed to zero in children that look healthy by themselves.
    """
    variables = 4 if deep else 2
    model = Circuit(linear_tree(2) if not deep else _pairs(), Gaussian(), units=2).to(dtype)
    group = model.inputs.groups[0]
    near, far = torch.tensor([0.0, distance]), torch.tensor([distance, 0.0])
    slots = [
        scope for region in model.schedule.leaves for scope in (_pairs() if deep else linear_tree(2)).scopes[region]
    ]
    with torch.no_grad():
        group.log_scale.fill_(math.log(1 - 1e-5))
        for row, variable in zip(group.loc, slots, strict=True):
            row.copy_(near if variable < variables // 2 else far)
        for weight in model.weights:
            weight.copy_(torch.eye(2, dtype=dtype)[: weight.shape[1]].expand_as(weight) if deep else 1.0)
        model.weights[0].fill_(1.0)
    return model


def _pairs():
    scopes = ((0,), (1,), (2,), (3,), (0, 1), (2, 3), (0, 1, 2, 3))
    return RegionGraph(scopes, (None, None, None, None, (0, 1), (2, 3), (4, 5)))


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_that_underflow_are_computed_again(dtype, deep):
    distance = 60.0
    model = complementary(distance, dtype, deep)
    variables = model.variables
    x = torch.zeros(3, variables, dtype=dtype)
    x[1] = distance / 2
    p = model()
    got = p.unnormalized_log_prob(x)
    log_normal = -variables * math.log(2 * math.pi) / 2
    exponent = -((distance) ** 2) / 2 * (variables // 2)
    expected = 2 * (log_normal + exponent + math.log(2))
    torch.testing.assert_close(got[0].item(), expected, rtol=1e-6, atol=0)
    if not deep:  # there the derivative by an off-diagonal weight is exp(3600)
        got.sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    in_vmap = torch.func.vmap(model().unnormalized_log_prob)(x)
    assert in_vmap[0].isnan(), "where Python cannot branch the row must be NaN, not wrong"


def test_exact_zeros_give_minus_infinity_and_no_nan():
    model = Circuit(linear_tree(3), Categorical(3), units=2)
    with torch.no_grad():
        model.inputs.groups[0].table[:, :, 0] = 0.0
    x = torch.tensor([[0, 1, 1], [1, 2, 1]])
    log_prob = model().log_prob(x)
    assert log_prob[0] == -math.inf
    assert log_prob[1].isfinite()
    log_prob[1:].sum().backward()
    score = model().unnormalized_log_prob(x)
    model.zero_grad()
    torch.where(score.isfinite(), score, 0.0).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("layer", ["cp", "tucker"])
def test_zero_weights_have_gradients(layer):
    """At a weight of zero ``log|W|`` has no derivative; the scaled arithmetic differentiates W itself."""
    model = Circuit(random_binary_tree(4), Gaussian(), units=3, layer=layer).double()
    with torch.no_grad():
        for weight in model.weights:
            weight.normal_()
            weight[..., 0] = 0.0
        model.weights[1][0, 1] = 0.0  # a whole unit switched off
    x = torch.randn(5, 4).double()
    parameters = dict(model.named_parameters())

    values = tuple(p.detach().clone().requires_grad_() for p in parameters.values())

    def total(*values):
        named = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(model, named, ()).log_prob(x).sum()

    assert torch.autograd.gradcheck(total, values)


def test_spline_support_is_closed_and_nothing_lies_outside():
    model = Circuit(linear_tree(2), BSpline(6, 2, (0.0, 1.0)), units=3).double()
    ends = torch.tensor(list(itertools.product([0.0, 1.0], [0.0, 0.5, 1.0]))).double()
    assert model().log_prob(ends).isfinite().all()
    outside = torch.tensor([[-1e-9, 0.5], [0.5, 1.0 + 1e-9], [1e9, 0.5]], dtype=torch.float64)
    assert (model().log_prob(outside) == -math.inf).all()


def test_spline_intervals_follow_each_variable():
    x = torch.stack([torch.rand(500), torch.rand(500) * 1e4], 1)
    model = Circuit(linear_tree(2), BSpline(16), units=4)
    with pytest.raises(RuntimeError, match="initialize"):
        model()
    model.initialize(x)
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    first = model().log_prob(x).mean().item()
    for _ in range(50):
        optimizer.zero_grad()
        (-model().log_prob(x).mean()).backward()
        optimizer.step()
    assert first < model().log_prob(x).mean().item()
    assert model().log_prob(x).mean().item() > -math.log(1e4 * 1.21) - 0.05


def test_float32_follows_float64_after_training():
    """256 variables; the rows' log-scales are summed in float64, so float32 loses only what the units lose."""
    factors = torch.randn(8, 256)
    x = torch.randn(1000, 8) @ factors / math.sqrt(8) + 0.5 * torch.randn(1000, 256)
    model = Circuit(random_binary_tree(256), Gaussian(), units=16)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(50):
        batch = x[step % 4 * 250 : step % 4 * 250 + 250]
        optimizer.zero_grad()
        (-model().log_prob(batch).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        single = model().log_prob(x).double()
        double = model.double()().log_prob(x.double())
    error = (single - double).abs()
    assert error.median() <= 1e-4
    assert error.max() <= 1e-3


def test_quad_tree_with_wide_leaves():
    """A region of 392 variables at a leaf multiplies 392 functions without leaving floating point."""
    graph = RegionGraph((tuple(range(392)), tuple(range(392, 784)), tuple(range(784))), (None, None, (0, 1)))
    model = Circuit(graph, Gaussian(), units=4)
    log_prob = model().log_prob(torch.randn(4, 784))
    assert log_prob.isfinite().all()
    assert quad_tree((1, 28, 28)).variables == 784


@pytest.mark.parametrize("squared", [True, False])
def test_binomial_tails_do_not_underflow(squared):
    """Probabilities of 255 trials fall below the smallest float32; their products over an image fall much further."""
    model = Circuit(quad_tree((1, 8, 8)), Binomial(255), units=3, squared=squared, input_mixture=True)
    x = torch.randint(0, 2, (4, 64)) * 255
    log_prob = model().log_prob(x)
    assert log_prob.isfinite().all()
    exact = copy.deepcopy(model).double()().log_prob(x)
    torch.testing.assert_close(log_prob.double(), exact, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_wide_leaves_far_out_have_values_and_gradients(seed, depth):
    """Products over many variables, in the first steps of training: the rows are far from every unit."""
    torch.manual_seed(seed)
    model = Circuit(random_binary_tree(16, depth), Gaussian(log_scale_spread=1.5), units=8)
    x = torch.randn(200, 16) * 3
    log_prob = model().log_prob(x)
    log_prob.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    state = copy.deepcopy(model).double()()._state
    exact = 2 * reference_log_abs(state, x.double())[0]
    torch.testing.assert_close(model().unnormalized_log_prob(x).double(), exact, rtol=1e-5, atol=1e-3)


def test_a_loss_that_a_sibling_would_promote_is_found():
    model = Circuit(_pairs(), Categorical(1), units=3)
    table = {0: (1, 1e-23, 1e-38), 1: (1e-29, 1e-23, 1), 2: (1e-29, 1, 0), 3: (1, 1, 1)}
    with torch.no_grad():
        for weight in model.weights:
            weight.copy_(torch.eye(3)[: weight.shape[1]].expand_as(weight))
        model.weights[0].fill_(1.0)
        slots = [model.schedule.leaves[i] for i in range(4)]
        for row, slot in zip(model.inputs.groups[0].table, slots, strict=True):
            row.copy_(torch.tensor(table[slot]).unsqueeze(-1))
    p = model()
    exact = 2 * reference_log_abs(p._state, torch.zeros(1, 4))[0]
    torch.testing.assert_close(p.unnormalized_log_prob(torch.zeros(1, 4)).double(), exact, rtol=1e-5, atol=0)


def test_rows_outside_the_support_leave_the_others_their_gradients():
    model = Circuit(random_binary_tree(2, repetitions=2), BSpline(8, 2, (0.0, 1.0)), units=2)
    log_prob = model().log_prob(torch.tensor([[0.5, 0.5], [2.0, 0.5]]))
    assert log_prob[1] == -math.inf
    log_prob[0].backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_large_tables_do_not_overflow():
    model = Circuit(random_binary_tree(4), Categorical(2), units=3, squared=False)
    with torch.no_grad():
        model.inputs.groups[0].table.fill_(60.0)
    (-model().log_prob(torch.zeros(3, 4))).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    small = Circuit(linear_tree(2), Categorical(2), units=2)
    with torch.no_grad():
        small.inputs.groups[0].table.fill_(1e-23)
    torch.testing.assert_close(small().log_prob(torch.zeros(1, 2)).item(), -2 * math.log(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("interval", [(0.1, 0.9), (0.3, 0.7), (-1.1, 1.3), [0, 1]])
def test_both_ends_of_an_interval_belong_to_it(interval, dtype):
    model = Circuit(linear_tree(1), BSpline(8, 2, interval), units=2).to(dtype)
    ends = torch.tensor(interval, dtype=dtype).unsqueeze(-1)
    assert model().log_prob(ends).isfinite().all()
    with pytest.raises(ValueError, match="finite interval"):
        BSpline(8, 2, (0.0, math.inf))


def test_units_that_cancel_in_training_have_a_normaliser():
    model = Circuit(linear_tree(1), Gaussian(), units=2)
    with torch.no_grad():
        model.inputs.groups[0].loc.copy_(torch.tensor([[0.0, 1e-4]]))
        model.inputs.groups[0].log_scale.zero_()
        model.input_mixture.copy_(torch.tensor([[[1.0, -1.0]]]))
    x = torch.tensor([[0.7]])
    trained = model().log_prob(x)
    with torch.no_grad():
        evaluated = model().log_prob(x)
    torch.testing.assert_close(trained.detach(), evaluated, rtol=0.1, atol=0.1)


def test_gradients_row_by_row_and_second_derivatives():
    model = Circuit(random_binary_tree(3), BSpline(7, 3, (0.0, 4.0)), units=3).double().requires_grad_(False)
    p = model()
    x = torch.tensor([[2.0, 1.0, 3.0], [0.3, 2.2, 3.9]]).double()
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(p.unnormalized_log_prob))(x), p.score(x))
    hessian = torch.func.vmap(torch.func.hessian(p.unnormalized_log_prob))(x)
    assert hessian.isfinite().all()
    torch.testing.assert_close(torch.autograd.functional.hessian(p.unnormalized_log_prob, x[0]), hessian[0])


def test_autocast_changes_nothing():
    model = Circuit(random_binary_tree(8), Gaussian(), units=8)
    x = torch.randn(5, 8)
    expected = model().log_prob(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model().log_prob(x), expected)
