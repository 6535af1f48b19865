from __future__ import annotations

import math

import pytest
import torch
from golden_icebeem import load

from logprob.energy import TCL
from logprob.nn import take_copy


def golden_model(case, copies=None):
    model = TCL(5, conditions=7, layers=2, copies=copies).double()
    layers = [*model.network, model.head]
    with torch.no_grad():
        for layer, weight, bias in zip(layers, ("W0", "W1", "Wc"), ("b0", "b1", "bc"), strict=True):
            layer.weight.copy_(case[weight])  # the same in every copy
            layer.bias.copy_(case[bias])
    return model


@pytest.mark.parametrize("copies", [None, 3])
def test_the_reference_network(copies):
    case = load("tcl_net")
    model, x, y = golden_model(case, copies), case["x"], case["y"]
    lead = () if copies is None else (copies,)
    expected = {
        "hidden": model.network[0](x),
        "features": model.features(x),
        "logits": model(x),
        "cross_entropy": -model.log_prob(x, y).mean(-1),
        "loss": model.loss(x, y),
    }
    for name, value in expected.items():
        torch.testing.assert_close(value, case[name].expand((*lead, *case[name].shape)), atol=1e-12, rtol=1e-12)


def test_the_optimizers_decay_is_the_penalty():
    case = load("tcl_net")
    model = golden_model(case, copies=2)
    model.penalty().sum().backward()
    for weight in model.weights():
        torch.testing.assert_close(weight.grad, weight.detach())
    assert all(bias.grad is None for bias in model.biases())
    assert len(model.weights()) + len(model.biases()) == len(list(model.parameters()))


def test_copies_are_models_of_their_own():
    torch.manual_seed(0)
    model, x, y = TCL(4, conditions=3, layers=3, hidden=6, latents=2, copies=3), torch.randn(9, 4), torch.arange(9) % 3
    for index in range(3):
        alone = take_copy(model, index)
        torch.testing.assert_close(alone.features(x), model.features(x)[index])
        torch.testing.assert_close(alone.loss(x, y), model.loss(x, y)[index])
    own = torch.stack([x, x + 1, x - 1])
    torch.testing.assert_close(model(own)[1], take_copy(model, 1)(x + 1))


def test_the_start_is_a_cut_normal_law():
    torch.manual_seed(0)
    model = TCL(50, conditions=400, layers=2, hidden=100)
    weight, deviation = model.network[0].weight, math.sqrt(2.6 / 50)
    assert weight.abs().max() <= 2 * deviation
    # a normal law cut at two deviations keeps 0.7737 of its variance; 10,000 draws: 1.4 % standard error
    assert abs(weight.var().item() / (0.7737 * deviation**2) - 1) < 0.06
    assert not any(bias.any() for bias in model.biases())


def test_one_layer_has_no_maxout():
    model = TCL(3, conditions=2, layers=1)
    x = torch.randn(5, 3)
    layer = model.network[0]
    torch.testing.assert_close(model.features(x), (x @ layer.weight.T + layer.bias).abs())


@pytest.mark.parametrize(
    "wrong", [{"layers": 0}, {"conditions": 0}, {"hidden": 0}, {"copies": 0}, {"weight_decay": -1.0}]
)
def test_wrong_arguments(wrong):
    with pytest.raises(ValueError, match="got"):
        TCL(**{"features": 3, "conditions": 2, **wrong})


def test_labels_out_of_range_are_refused():
    """Cross entropy by itself leaves a label of -100 out, without a word."""
    model, x = TCL(3, conditions=4), torch.randn(2, 3)
    with pytest.raises(ValueError, match="from 0 to 3, got -100 to 1"):
        model.log_prob(x, torch.tensor([1, -100]))
