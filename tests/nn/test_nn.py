"""Plain networks: shapes, the masks of the autoregressive one, and errors."""

from __future__ import annotations

import pickle

import pytest
import torch

from logprob.nn import MLP, MaskedMLP
from logprob.nn.mlp import NONLINEARITIES


@pytest.mark.parametrize("activation", NONLINEARITIES)
def test_shapes_and_gradients(activation):
    for network, shape in (
        (MLP(3, 2, (7, 5), activation), (4, 2)),
        (MaskedMLP(3, 2, (7, 5), activation=activation), (4, 2, 3)),
    ):
        out = network(torch.randn(4, 3))
        assert out.shape == shape
        out.square().sum().backward()
        assert all(parameter.grad.ne(0).any() for parameter in network.parameters())


def test_no_hidden_layer_is_a_linear_map():
    network, x = MLP(3, 2, hidden=()), torch.randn(2, 4, 3)
    torch.testing.assert_close(network(x[0] + x[1]) - network(x[1]), network(x[0]) - network(0 * x[0]))


def test_final_scale():
    for network in (MLP(3, 4, final_scale=0.0), MaskedMLP(3, 4, final_scale=0.0)):
        assert not network(torch.randn(5, 3)).any()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("hidden", [(), (20,), (3, 30), (11, 13, 12)])
def test_outputs_see_what_is_before_them(hidden, context, reverse):
    inputs, outputs = 5, 2
    network = MaskedMLP(inputs, outputs, hidden, context, "tanh", reverse).double()
    x, given = torch.randn(3, inputs).double(), torch.randn(3, context).double() if context else None
    jacobian = torch.func.vmap(
        torch.func.jacrev(lambda x, c: network(x[None], c if c is None else c[None])[0]), (0, 0 if context else None)
    )(x, given)
    seen = (jacobian != 0).any(0)  # (Q, D, D): output, place of the output, input
    allowed = torch.ones(inputs, inputs).tril(-1).bool()
    allowed = allowed.flip(0, 1) if reverse else allowed
    assert not (seen & ~allowed).any()
    if min(hidden, default=inputs) >= inputs:
        assert (seen | ~allowed).all()
    if context:
        by_context = torch.func.jacrev(lambda c: network(x, c))(given)
        assert (by_context != 0).any(-1).any(-1).any(0).all()  # every output depends on the context


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("hidden", [(1,), (2,), (3, 2), (6,), (7,), (2, 9)])
def test_narrow_layers_let_the_last_output_see_every_input(hidden, context, reverse):
    inputs = 8
    network = MaskedMLP(inputs, 1, hidden, context, "tanh", reverse).double()
    given = torch.randn(1, context).double() if context else None
    jacobian = torch.func.jacrev(lambda x: network(x[None], given)[0, 0])(torch.randn(inputs).double())
    last = jacobian[0].flip(0) if reverse else jacobian[-1]
    assert (last != 0).tolist() == [True] * (inputs - 1) + [False]


def test_a_column_is_that_of_all_outputs():
    network, x, context = MaskedMLP(5, 3, (20, 20), context=2), torch.randn(4, 5), torch.randn(4, 2)
    together = network(x, context)
    for index in range(5):
        torch.testing.assert_close(network.column(index, x, context), together[..., index])


def test_masks_follow_the_module_and_are_no_state():
    network = MaskedMLP(4, 2, (8,)).double()
    assert network(torch.randn(3, 4).double()).dtype == torch.float64
    assert not any("mask" in name for name in network.state_dict())
    x = torch.randn(3, 4).double()
    assert torch.equal(pickle.loads(pickle.dumps(network))(x), network(x))


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (lambda: MLP(0, 1), "widths must be at least 1"),
        (lambda: MLP(1, 1, (4, 0)), "widths must be at least 1"),
        (lambda: MaskedMLP(3, 0), "widths must be at least 1"),
        (lambda: MLP(1, 1, activation="sine"), "must be one of relu"),
        (lambda: MaskedMLP(3, 1, context=2)(torch.zeros(1, 3)), "expected a context of width 2, got none"),
    ],
)
def test_errors(wrong, match):
    with pytest.raises(ValueError, match=match):
        wrong()
