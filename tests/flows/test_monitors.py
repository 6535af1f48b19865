"""The monitors: what they say of true, stale and approximate inverses, and that they leave the model alone."""

from __future__ import annotations

import math

import pytest
import torch

from logprob.flows import (
    ConvolutionalFlow,
    DenseFlow,
    Dequantized,
    InverseMonitor,
    PixelLogits,
    SelfNormalizingLinear,
    monitor,
)
from logprob.objectives import Batch


def dense(features=5):
    flow = DenseFlow(features, init="identity-noise").double()
    with torch.no_grad():
        for layer in (flow.layers[0], flow.layers[2]):
            layer.weight += 0.3 * torch.randn(features, features)
    flow.synchronize()
    return flow


def rows(features=5):
    return torch.randn(20, features, dtype=torch.float64)


def test_true_inverses_are_found_true():
    for report in monitor(dense(), rows()):
        assert report.gradient_cosine == pytest.approx(1.0)
        assert report.log_det_cosine == pytest.approx(1.0)
        assert report.inverse_error < 1e-12
        assert report.energy < 1e-20


def test_stale_inverses_are_found_stale():
    flow = dense()
    with torch.no_grad():
        flow.layers[2].weight += torch.randn(5, 5)
    first, second = monitor(flow, rows())
    assert first.log_det_cosine == pytest.approx(1.0)
    assert second.log_det_cosine < 0.99
    assert second.gradient_cosine < first.gradient_cosine + 1e-9
    assert second.inverse_error > 0.1
    assert second.energy > 0.01


def test_the_condition_number_is_that_of_the_matrix():
    flow = dense()
    (report, _) = monitor(flow, rows())
    expected = torch.linalg.cond(flow.layers[0].weight.detach()).item()
    assert report.condition == pytest.approx(expected)


def test_the_condition_number_is_that_of_the_operator_of_a_convolution():
    flow = ConvolutionalFlow((2, 3, 3), blocks=1, depth=1).double()
    with torch.no_grad():
        flow.layers[0].weight += 0.1 * torch.randn(2, 2, 3, 3)
    flow.synchronize()
    (report,) = monitor(flow, torch.randn(4, 2, 3, 3, dtype=torch.float64), iterations=300)
    layer = flow.layers[0]
    jacobian = torch.func.jacrev(lambda x: layer(x[None])[0][0])(torch.zeros(2, 3, 3, dtype=torch.float64))
    expected = torch.linalg.cond(jacobian.reshape(18, 18).detach()).item()
    assert report.condition == pytest.approx(expected, rel=1e-3)


def test_the_inverse_error_estimates_the_distance_from_the_identity():
    flow = dense(40)
    with torch.no_grad():
        flow.layers[0].inverse_weight += 0.1 * torch.randn(40, 40)
    layer = flow.layers[0]
    distance = torch.eye(40) - layer.inverse_weight @ layer.weight
    estimate = monitor(flow, rows(40))[0].inverse_error
    assert estimate == pytest.approx(distance.norm().item() / math.sqrt(40), rel=0.2)


@pytest.mark.parametrize("mode", ["self-normalizing", "resync"])
def test_it_works_for_images_with_noise_and_leaves_everything_as_it_was(mode):
    flow = ConvolutionalFlow((1, 4, 4), blocks=1, depth=2, convolution=mode, preprocessing=[PixelLogits(17)])
    model = Dequantized(flow, 17)
    pixels = torch.randint(0, 17, (6, 1, 4, 4))
    model.surrogate_log_prob(pixels)
    model.synchronize()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    reports = monitor(model, pixels)
    assert [report.name.split(".")[-1] for report in reports] == ["0", "2"]
    assert all(0.9 < report.log_det_cosine <= 1 + 1e-9 for report in reports)
    assert all(math.isfinite(report.condition) for report in reports)
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert flow.layers[0].log_det == mode


def test_frozen_weights_stay_frozen():
    flow = dense()
    flow.layers[0].weight.requires_grad_(False)
    assert len(monitor(flow, rows())) == 2
    assert not flow.layers[0].weight.requires_grad


def test_exact_layers_have_nothing_to_report():
    flow = DenseFlow(5, log_det="exact")
    assert monitor(flow, torch.randn(4, 5)) == []
    assert InverseMonitor()(flow, Batch(torch.randn(4, 5))) == {}


def test_the_metric_names_the_worst_layer():
    flow = dense()
    with torch.no_grad():
        flow.layers[2].weight += torch.randn(5, 5)
    metric = InverseMonitor(rows=10)(flow, Batch(rows()))
    assert set(metric) == {"gradient_cosine", "log_det_cosine", "inverse_error", "condition", "energy"}
    assert metric["inverse_error"] > 0.1
    assert metric["log_det_cosine"] < 0.99


def test_its_layers_are_found_by_name_in_any_model():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.flow = DenseFlow(3)
            self.surrogate_log_prob = self.flow.surrogate_log_prob

    names = [report.name for report in monitor(Model(), torch.randn(4, 3))]
    assert names == ["flow.layers.layers.0", "flow.layers.layers.2"]
    assert isinstance(Model().get_submodule(names[0]), SelfNormalizingLinear)
