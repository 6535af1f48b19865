"""Perceptrons that share nothing, computed together."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from logprob.nn import SeparateMLPs


def alone(network, index):
    """The perceptron of one output, as ordinary modules."""
    layers = []
    for layer in network.networks:
        if isinstance(layer, nn.LeakyReLU):
            layers.append(layer)
            continue
        inputs = index if not layers else layer.inputs
        copy = nn.Linear(inputs, layer.outputs)
        with torch.no_grad():
            copy.weight.copy_(layer.weight[index - 1][:, :inputs])
            copy.bias.copy_(layer.bias[index - 1])
        layers.append(copy)
    return nn.Sequential(*layers)


def test_outputs_are_those_of_one_perceptron_after_another():
    network, x = SeparateMLPs(4, 3, (6, 5), slope=0.2), torch.randn(7, 4)
    y = network(x)
    assert torch.equal(y[:, :, 0], network.first.expand(7, 3))
    for index in range(1, 4):
        torch.testing.assert_close(y[:, :, index], alone(network, index)(x[:, :index]))
        torch.testing.assert_close(network.column(index, x), y[:, :, index])
    assert torch.equal(network.column(0, x), y[:, :, 0])


def test_the_start_is_that_of_layers_with_as_many_inputs_as_each_sees():
    layer = SeparateMLPs(5, 2, (2000,)).networks[0]
    for index in range(1, 5):
        for values in (layer.weight[index - 1, :, :index], layer.bias[index - 1]):
            assert math.isclose(values.abs().max().item(), index**-0.5, rel_tol=0.02)


@pytest.mark.parametrize("wrong", [{"inputs": 1}, {"outputs": 0}, {"hidden": (0,)}])
def test_errors(wrong):
    with pytest.raises(ValueError, match="widths must be at least 1"):
        SeparateMLPs(**{"inputs": 3, "outputs": 2, **wrong})
