"""Flows as wholes: shapes, snapshots, shared layers, bases, samples, transforms, and clear refusals."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.distributions import Independent, Normal, TransformedDistribution

from logprob.flows import (
    ConditionalNormal,
    DenseFlow,
    Flatten,
    Flow,
    Glow,
    LearnableLeakyReLU,
    NeuralSplineFlow,
    PixelLogits,
    SelfNormalizingConv2d,
    SelfNormalizingLinear,
    Sequential,
    SmoothLeakyReLU,
    Squeeze,
    StandardLaplace,
    StandardNormal,
    StandardUniform,
    SurrogateOptions,
    synchronize,
)
from logprob.nn import MLP
from logprob.objectives import GECO, Batch, NegativeLogLikelihood, SelfNormalizingLikelihood
from logprob.testing import check_distribution, check_transform


def dense(features=3, base=None):
    return DenseFlow(features, init="identity-noise", base=base)


BASES = {
    "laplace": lambda: dense(base=StandardLaplace(3)),
    "normal": lambda: dense(base=StandardNormal((3,))),
}


@pytest.mark.parametrize("make", BASES.values(), ids=BASES)
def test_flows_of_every_base_keep_the_contract(make):
    def exact():
        flow = make()
        flow.layers[0].log_det = flow.layers[2].log_det = "exact"
        return flow

    check_distribution(exact, torch.randn(5, 3))


def test_a_conditional_base_keeps_the_contract():
    def make():
        layer = SelfNormalizingLinear(3, "exact", init="identity-noise")
        return Flow([layer], 3, base=ConditionalNormal(3, MLP(2, 6, (8,))))

    context = torch.randn(5, 2)
    check_distribution(make, torch.randn(5, 3), context=context)
    assert make()(context).sample((4,)).shape == (4, 5, 3)
    assert make().sample((4,), context).shape == (4, 5, 3)


def test_a_uniform_base_has_no_mass_outside():
    flow = Flow([SelfNormalizingLinear(2, bias=False)], 2, base=StandardUniform(2))
    log_prob = flow().log_prob(torch.tensor([[0.5, 0.5], [0.5, 1.5]]))
    assert log_prob.tolist() == [0.0, -torch.inf]


def shared():
    tied, activation = SelfNormalizingLinear(3, "exact", init="identity-noise"), LearnableLeakyReLU()
    return Flow([tied, activation, tied, activation], 3), tied, activation


def test_a_layer_used_twice_is_left_alone_and_trains():
    flow, tied, activation = shared()
    x, parameters = torch.randn(8, 3), dict(flow.named_parameters())
    with torch.no_grad():
        before = flow().log_prob(x)
    assert tied.weight is parameters["layers.layers.0.weight"]
    assert isinstance(activation.alpha_logit, torch.nn.Parameter)
    NegativeLogLikelihood()(flow, Batch(x)).value.backward()
    optimizer = torch.optim.SGD(flow.parameters(), lr=0.1)
    snapshot = flow()
    optimizer.step()
    assert torch.equal(snapshot.log_prob(x).detach(), before)
    assert not torch.equal(flow().log_prob(x), before)


def test_a_parameter_of_two_layers_is_cloned_once():
    first, second = (SelfNormalizingLinear(3, "exact", init="identity-noise") for _ in range(2))
    second.weight = first.weight
    flow, x = Flow([first, second], 3), torch.randn(8, 3)
    (gradient,) = torch.autograd.grad(flow().log_prob(x).sum(), first.weight)
    z, ladj = flow.encode(x)
    (expected,) = torch.autograd.grad((flow.base().log_prob(z) + ladj).sum(), first.weight)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("method", ["exact", "approximate", "refine"])
def test_samples_come_by_any_inverse(method):
    flow = dense()
    torch.manual_seed(1)
    samples = flow.sample((4, 2), method=method)
    torch.manual_seed(1)
    torch.testing.assert_close(samples, flow().sample((4, 2)), atol=1e-4, rtol=1e-4)
    assert flow.sample(7).shape == (7, 3)


def test_an_unconditional_base_is_drawn_for_each_row_of_the_context():
    flow = NeuralSplineFlow(3, transforms=2, context=2)
    context = torch.randn(5, 2)
    torch.manual_seed(1)
    samples = flow.sample((4,), context)
    torch.manual_seed(1)
    assert torch.equal(samples, flow(context).sample((4,)))
    assert samples.shape == (4, 5, 3)


def test_samples_are_differentiable():
    flow = dense().double()
    assert flow().has_rsample
    assert flow().support.event_dim == 1
    flow().rsample((5,)).sum().backward()
    assert flow.layers[0].weight.grad.abs().sum() > 0


def test_empty_batches_are_empty():
    for flow in (dense(), NeuralSplineFlow(3, transforms=2)):
        assert flow().log_prob(torch.zeros(0, 3)).shape == (0,)
        assert flow().sample((0,)).shape == (0, 3)
        assert flow.layers.transform().call_and_ladj(torch.zeros(0, 3))[0].shape == (0, 3)


def test_initialisation_takes_the_rows_of_the_context_too():
    flow = NeuralSplineFlow(3, transforms=2, context=2)
    flow.initialize(torch.randn(2000, 3), torch.randn(2000, 2))


def test_transforms_know_their_shapes_before_any_call():
    squeeze, flatten = Squeeze().transform(), Flatten((1, 4, 4)).transform()
    image = Independent(Normal(torch.zeros(1, 4, 4), 1.0), 3)
    assert squeeze.forward_shape((7, 1, 4, 4)) == (7, 4, 2, 2)
    assert squeeze.inverse_shape((7, 4, 2, 2)) == (7, 1, 4, 4)
    assert TransformedDistribution(image, [squeeze]).event_shape == (4, 2, 2)
    flat = TransformedDistribution(image, [flatten])
    assert flat.event_shape == (16,)
    assert flat.log_prob(flat.sample((3,))).shape == (3,)
    chain = Sequential([Flatten((1, 4, 4)), SmoothLeakyReLU()]).transform()
    assert chain.codomain.event_dim == 1
    check_transform(chain, torch.randn(2, 1, 4, 4, dtype=torch.float64))


def test_a_mode_that_is_set_again_changes_nothing():
    layer = SelfNormalizingLinear(3)
    inverse = layer.inverse_weight.requires_grad_(False)
    layer.log_det = "self-normalizing"
    assert layer.inverse_weight is inverse


MODES = ["self-normalizing", "resync", "exact"]
LAYERS = {
    "linear": lambda mode: SelfNormalizingLinear(3, mode, init="identity-noise"),
    "convolution": lambda mode: SelfNormalizingConv2d(2, 3, mode, image_size=(5, 5)),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("source", MODES)
@pytest.mark.parametrize("target", MODES)
def test_weights_can_be_loaded_into_any_mode(make, source, target):
    trained, other = make(source), make(target)
    with torch.no_grad():
        trained.weight += 0.1 * torch.randn_like(trained.weight)
    trained.synchronize()
    other.load_state_dict(trained.state_dict())
    x = torch.randn(2, *((3,) if source == "linear" or trained.weight.dim() == 2 else (2, 5, 5)))
    assert torch.equal(other(x)[1], trained(x)[1])
    if other.inverse_weight is not None:
        fresh = copy.deepcopy(other)
        fresh.synchronize()
        torch.testing.assert_close(other.inverse_weight, fresh.inverse_weight)


def test_a_waiting_loss_survives_a_synchronisation():
    flow = dense()
    objective = SelfNormalizingLikelihood(synchronize_every=2)
    for _ in range(2):
        losses = [objective(flow, Batch(torch.randn(8, 3))).value for _ in range(3)]
        sum(losses).backward()
    assert torch.isfinite(flow.layers[0].weight.grad).all()


def test_evaluation_and_energies_that_are_not_finite_leave_the_weights_of_the_penalty_alone():
    flow = dense()
    objective = SelfNormalizingLikelihood(GECO(rate=0.5), synchronize_every=None)
    objective(flow, Batch(torch.randn(8, 3)))
    geco = objective.reconstruction
    before = geco.log_weights.clone()
    with torch.no_grad():
        objective(flow, Batch(torch.randn(8, 3)))
    objective(flow, Batch(torch.full((8, 3), torch.nan)))
    assert torch.equal(geco.log_weights, before)
    assert torch.isfinite(geco.ema).all()


def test_synchronize_finds_the_layers_of_any_module():
    module = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": dense()})
    with torch.no_grad():
        module["b"].layers[0].weight += 1
    synchronize(module)
    layer = module["b"].layers[0]
    torch.testing.assert_close(layer.inverse_weight @ layer.weight, torch.eye(3), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: SurrogateOptions(scale="ful"), ValueError, "scale must be one of full, paper"),
        (lambda: SurrogateOptions(penalty="bothh"), ValueError, "penalty must be one of None, inverse"),
        (lambda: SurrogateOptions(value="exakt"), ValueError, "value must be one of zero"),
        (lambda: SelfNormalizingLikelihood(penalty="bth"), ValueError, "penalty"),
        (lambda: GECO(rule="papr"), ValueError, "target or paper"),
        (lambda: SelfNormalizingLinear(3).inverse(torch.zeros(1, 3), method="approx"), ValueError, "approximate"),
        (lambda: dense().inverse(torch.zeros(1, 3), method="approx"), ValueError, "approximate"),
        (lambda: Flow([SelfNormalizingLinear(4)], 5), ValueError, r"shape \(4,\), got \(5,\)"),
        (lambda: Flow([SmoothLeakyReLU()], 3).encode(torch.zeros(4, 1)), ValueError, r"\(B, 3\), got \(4, 1\)"),
        (lambda: Flow([SmoothLeakyReLU()], 3).surrogate_log_prob(torch.zeros(4, 1)), ValueError, "expected rows"),
        (lambda: dense(base=StandardNormal((8, 3))), ValueError, "the base has shape"),
        (lambda: dense(base=Normal(0.0, 1.0)), TypeError, "module that makes a distribution"),
        (lambda: Flow([torch.nn.Linear(3, 3)], 3), TypeError, "must be flow layers"),
        (lambda: dense()().log_prob(torch.zeros(2, 4)), ValueError, "event shape"),
        (lambda: dense()().log_prob(torch.zeros(2, 3, dtype=torch.long)), ValueError, "Dequantized"),
        (
            lambda: DenseFlow(3, preprocessing=[PixelLogits(17)]).surrogate_log_prob(torch.ones(2, 3).long()),
            ValueError,
            "Dequantized",
        ),
        (lambda: ConditionalNormal(3, MLP(2, 6, (8,)))(), ValueError, "needs a context"),
        (lambda: Glow((1, 4, 4), 1, 1, 4)().log_prob(torch.zeros(2, 1, 4, 4)), RuntimeError, "initialize"),
    ],
)
def test_mistakes_are_named(make, error, words):
    with pytest.raises(error, match=words):
        make()
