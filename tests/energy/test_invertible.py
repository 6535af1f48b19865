"""The invertible network, against reference values and autograd."""

from __future__ import annotations

import pytest
import torch
from golden_icebeem import load

from logprob.energy import InvertibleICA, InvertibleMLP
from logprob.nn import take_copy


def golden_mapping(case):
    mapping = InvertibleMLP(5, layers=2).double()
    state = {"weight": case["W"], "bias": case["b"], "log_slope": case["a"]}
    mapping.load_state_dict(state)
    return mapping


def random_mapping(copies=None, layers=3, features=4):
    mapping = InvertibleMLP(features, layers, copies).double()
    with torch.no_grad():
        for parameter in mapping.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return mapping


def test_latents_and_log_determinant_of_the_reference():
    case = load("invertible")
    z, ladj = golden_mapping(case)(case["x"])
    torch.testing.assert_close(z, case["z"], rtol=0, atol=1e-10)
    torch.testing.assert_close(ladj, case["ladj"], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("base", "name"), [("diagonal", "logp_diag"), ("full", "logp_full")])
def test_likelihood_of_the_reference(base, name):
    case = load("invertible")
    model = InvertibleICA(5, conditions=4, layers=2, base=base).double()
    state = {"mapping.weight": case["W"], "mapping.bias": case["b"], "mapping.log_slope": case["a"]}
    state["log_precision"] = case["log_precision"]
    if base == "full":
        state["shared"] = case["C"]
    model.load_state_dict(state)
    torch.testing.assert_close(model(case["y"]).log_prob(case["x"]), case[name], rtol=0, atol=1e-10)


def test_log_determinant_is_that_of_the_jacobian():
    mapping, x = random_mapping(), torch.randn(20, 4, dtype=torch.float64)
    jacobians = torch.stack([torch.autograd.functional.jacobian(lambda v: mapping(v)[0], row) for row in x])
    torch.testing.assert_close(mapping(x)[1], torch.linalg.slogdet(jacobians).logabsdet)


@pytest.mark.parametrize("copies", [None, 3])
def test_inverse_undoes(copies):
    mapping, x = random_mapping(copies), torch.randn(50, 4, dtype=torch.float64)
    z, _ = mapping(x)
    torch.testing.assert_close(mapping.inverse(z), x.expand_as(z))
    torch.testing.assert_close(mapping(mapping.inverse(z))[0], z)


def test_copies_are_the_networks_alone():
    many, x = random_mapping(copies=3), torch.randn(10, 4, dtype=torch.float64)
    z, ladj = many(x)
    for index in range(3):
        alone = take_copy(many, index)
        torch.testing.assert_close(alone(x)[0], z[index])
        torch.testing.assert_close(alone(x)[1], ladj[index])
    own = torch.randn(3, 10, 4, dtype=torch.float64)  # and rows of its own for each copy
    torch.testing.assert_close(many(own)[0][1], take_copy(many, 1)(own[1])[0])


def test_leading_shapes():
    many, x = random_mapping(copies=3), torch.randn(2, 3, 10, 4, dtype=torch.float64)
    z, ladj = many(x)
    assert (z.shape, ladj.shape) == ((2, 3, 10, 4), (2, 3, 10))
    torch.testing.assert_close(z[1], many(x[1])[0])
    torch.testing.assert_close(many.inverse(z), x)
    alone = take_copy(many, 0)
    assert alone(x)[1].shape == (2, 3, 10)
    assert alone(x[0, 0, 0])[1].shape == ()


def test_starts_as_a_rotation():
    mapping, x = InvertibleMLP(4, layers=3).double(), torch.randn(10, 4, dtype=torch.float64)
    z, ladj = mapping(x)
    torch.testing.assert_close(z.norm(dim=-1), x.norm(dim=-1), rtol=1e-6, atol=1e-6)
    assert ladj.abs().max() < 1e-6


def test_without_biases_it_is_homogeneous():
    mapping = InvertibleMLP(4, layers=2, bias=False).double()
    torch.nn.init.normal_(mapping.log_slope)
    x = torch.randn(10, 4, dtype=torch.float64)
    torch.testing.assert_close(mapping(3 * x)[0], 3 * mapping(x)[0])
    assert not mapping.bias.requires_grad


def test_one_dimension():
    z, ladj = InvertibleMLP(1, layers=2)(torch.randn(5, 1))
    assert (z.shape, ladj.shape) == ((5, 1), (5,))


@pytest.mark.parametrize("arguments", [(0, 1), (1, 0), (2, 2, 0)])
def test_sizes_are_checked(arguments):
    with pytest.raises(ValueError, match="at least 1"):
        InvertibleMLP(*arguments)
