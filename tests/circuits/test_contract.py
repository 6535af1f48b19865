"""Every circuit keeps the contract of a distribution, and its density has mass one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from logprob.circuits import (
    Binomial,
    BSpline,
    Categorical,
    Circuit,
    Gaussian,
    linear_tree,
    quad_tree,
    random_binary_tree,
)
from logprob.testing import check_distribution

GRAPHS = {
    "random": lambda: random_binary_tree(6, seed=1),
    "random of depth 1, twice": lambda: random_binary_tree(6, depth=1, repetitions=2),
    "linear, three times": lambda: linear_tree(6, repetitions=3),
    "quad tree": lambda: quad_tree((1, 2, 3)),
    "quad tree with channels": lambda: quad_tree((2, 1, 3)),
    "one region": lambda: random_binary_tree(6, depth=0),
}
PLANAR = {
    "split": lambda: random_binary_tree(2),
    "split twice": lambda: random_binary_tree(2, repetitions=2),
    "one region": lambda: random_binary_tree(2, depth=0),
}
KINDS = {
    "squared": {"squared": True},
    "monotonic": {"squared": False},
    "squared, positive": {"squared": True, "weights": "positive"},
}
LAYERS = ("cp", "tucker")
STATES = torch.cartesian_prod(*[torch.arange(3)] * 6)


def gauss_legendre(cuts, order):
    """Nodes and weights of Gauss-Legendre on every interval between neighbouring cuts."""
    node, weight = np.polynomial.legendre.leggauss(order)
    left, right = np.asarray(cuts[:-1])[:, None], np.asarray(cuts[1:])[:, None]
    nodes = left + (right - left) * (node + 1) / 2
    weights = (right - left) * weight / 2
    return torch.from_numpy(nodes.ravel()), torch.from_numpy(weights.ravel())


def product_rule(nodes, weights):
    return torch.cartesian_prod(nodes, nodes), torch.cartesian_prod(weights, weights).prod(-1)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_mass_by_enumeration(graph, kind, layer):
    for seed, inputs in enumerate((Categorical(3), Binomial(2))):
        torch.manual_seed(seed)
        model = Circuit(GRAPHS[graph](), inputs, units=4, layer=layer, **KINDS[kind]).double()
        mass = model().log_prob(STATES).exp().sum()
        torch.testing.assert_close(mass, torch.ones_like(mass), rtol=1e-10, atol=0)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("graph", PLANAR)
def test_mass_by_quadrature(graph, kind, layer):
    spline = BSpline(functions=8, order=2, interval=(-3.0, 3.0))
    rules = {
        spline: gauss_legendre(np.linspace(-3, 3, 7), 5),
        Gaussian(log_scale_spread=0.3): gauss_legendre(np.linspace(-30, 30, 121), 8),
    }
    for inputs, rule in rules.items():
        model = Circuit(PLANAR[graph](), inputs, units=4, layer=layer, **KINDS[kind]).double()
        nodes, weights = product_rule(*rule)
        mass = (model().log_prob(nodes).exp() * weights).sum()
        torch.testing.assert_close(mass, torch.ones_like(mass), rtol=1e-6, atol=0)


def test_mass_of_mixed_variables():
    model = Circuit(linear_tree(2), [Categorical(3), Gaussian(log_scale_spread=0.3)], units=4).double()
    nodes, weights = gauss_legendre(np.linspace(-30, 30, 121), 8)
    value = torch.cartesian_prod(torch.arange(3).double(), nodes)
    mass = (model().log_prob(value).exp() * weights.repeat(3)).sum()
    torch.testing.assert_close(mass, torch.ones_like(mass), rtol=1e-6, atol=0)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("graph", ["random", "random of depth 1, twice"])
@pytest.mark.parametrize("inputs", [Gaussian(), Categorical(3), BSpline(6, 2, (-5.0, 5.0)), Binomial(2)], ids=str)
def test_contract(inputs, graph, kind, layer):
    def make():
        return Circuit(GRAPHS[graph](), inputs, units=3, layer=layer, **KINDS[kind])

    value = torch.randn(7, 6) if inputs.states is None else STATES[torch.randperm(len(STATES))[:50]]
    check_distribution(make, value, nodes=None if inputs.states is None else STATES)
