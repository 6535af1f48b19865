"""The fast maxout layer, against the two layers that it stands for."""

from __future__ import annotations

import pytest
import torch

from logprob.nn import Maxout, StackedLinear, StackedMaxout, StackedMLP, take_copy


@pytest.mark.parametrize("copies", [None, 3])
def test_it_is_a_linear_layer_and_a_maximum(copies):
    layer, x = StackedMaxout(4, 6, copies).double(), torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    plain = StackedLinear(4, 12, copies).double()
    plain.load_state_dict(layer.state_dict())
    got, expected = layer(x), Maxout()(plain(x))
    torch.testing.assert_close(got, expected)
    weights = torch.randn_like(got)
    ours = torch.autograd.grad((got * weights).sum(), [x, *layer.parameters()])
    theirs = torch.autograd.grad((expected * weights).sum(), [x, *plain.parameters()])
    torch.testing.assert_close(ours, theirs)


def test_a_network_of_copies_is_its_copies():
    many, x = StackedMLP(4, 2, (6, 5), "maxout", copies=3), torch.randn(9, 4)
    for index in range(3):
        torch.testing.assert_close(take_copy(many, index)(x), many(x)[index])
