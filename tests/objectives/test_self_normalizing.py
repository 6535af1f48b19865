"""The surrogate likelihood: its gradient, its synchronisation, its state."""

from __future__ import annotations

import pytest
import torch

from logprob.circuits import Circuit, Gaussian, linear_tree
from logprob.flows import Flow, SelfNormalizingLinear, SmoothLeakyReLU
from logprob.objectives import GECO, Batch, NegativeLogLikelihood, SelfNormalizingLikelihood
from logprob.testing import check_objective


def make(log_det="self-normalizing", features=4):
    layers = [SelfNormalizingLinear(features, log_det, init="identity-noise") for _ in range(2)]
    return Flow([layers[0], SmoothLeakyReLU(0.3), layers[1]], features)


def rows(count=16, features=4):
    return Batch(torch.randn(count, features))


def gradients(objective, model, batch):
    model.zero_grad()
    objective(model, batch).value.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if "inverse" not in name}


OBJECTIVES = {
    "default": SelfNormalizingLikelihood,
    "published": lambda: SelfNormalizingLikelihood(1.0, "both", "paper", synchronize_every=None),
    "symmetric": lambda: SelfNormalizingLikelihood(1.0, "symmetric"),
    "geco": lambda: SelfNormalizingLikelihood(GECO()),
}


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_it_keeps_the_contract(objective):
    torch.manual_seed(3)
    check_objective(objective(), make, Batch(torch.randn(16, 4)))


def test_at_true_inverses_the_gradient_is_that_of_the_exact_likelihood():
    model, batch = make().double(), Batch(torch.randn(16, 4, dtype=torch.float64))
    model.synchronize()
    surrogate = gradients(SelfNormalizingLikelihood(), model, batch)
    exact = gradients(NegativeLogLikelihood(), model, batch)
    for name, gradient in exact.items():
        torch.testing.assert_close(surrogate[name], gradient, rtol=1e-9, atol=1e-11)


def test_a_flow_of_exact_layers_is_trained_by_its_exact_likelihood():
    model, batch = make("exact"), rows()
    surrogate = SelfNormalizingLikelihood()(model, batch)
    torch.testing.assert_close(surrogate.value, NegativeLogLikelihood()(model, batch).value)
    assert dict(surrogate.metrics) == {}


def test_no_reconstruction_means_no_energy():
    assert dict(SelfNormalizingLikelihood(reconstruction=0)(make(), rows()).metrics) == {}


def staleness(model):
    layer = model.layers[0]
    return (layer.inverse_weight @ layer.weight - torch.eye(4)).abs().max().item()


@pytest.mark.parametrize(("every", "fresh"), [(3, True), (None, False)])
def test_inverses_are_synchronised_in_time_and_at_the_end_of_an_epoch(every, fresh):
    model, objective = make(), SelfNormalizingLikelihood(synchronize_every=every)
    for _ in range(3):
        with torch.no_grad():
            model.layers[0].weight += 0.1 * torch.randn(4, 4)
        objective(model, rows())
    assert staleness(model) > 1e-3
    objective(model, rows())
    assert (staleness(model) < 1e-5) is fresh
    with torch.no_grad():
        model.layers[0].weight += 0.1 * torch.randn(4, 4)
    objective.finish_epoch(model)
    assert (staleness(model) < 1e-5) is fresh


def test_its_state_is_the_step_and_the_weights():
    model = make()
    one, other = (SelfNormalizingLikelihood(GECO(rate=0.1), synchronize_every=2) for _ in range(2))
    for _ in range(5):
        one(model, rows())
    other.load_state_dict(one.state_dict())
    assert other.steps == 5
    assert torch.equal(other.reconstruction.log_weights, one.reconstruction.log_weights)


def test_evaluating_the_loss_counts_no_step():
    objective = SelfNormalizingLikelihood()
    with torch.no_grad():
        objective(make(), rows())
    assert objective.steps == 0


def test_a_model_without_a_surrogate_is_refused():
    with pytest.raises(TypeError, match="no surrogate_log_prob"):
        SelfNormalizingLikelihood()(Circuit(linear_tree(4), Gaussian(), units=2), rows())


@pytest.mark.parametrize("wrong", [{"reconstruction": -1.0}, {"synchronize_every": 0}])
def test_mistakes_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SelfNormalizingLikelihood(**wrong)
