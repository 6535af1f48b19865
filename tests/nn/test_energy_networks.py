"""Networks of energies: how many parameters they have, rows, copies, batch normalisation of copies."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from logprob.nn import (
    BatchNormMLP,
    ConvMLP,
    FreeOutputs,
    FullMLP,
    InstanceNormPlus,
    NormalizedMLP,
    PositionalEncoding,
    PositionalMLP,
    RefineNet,
    StackedBatchNorm,
    take_copy,
)

CIFAR = (3, 32, 32)
PUBLISHED = {  # parameters of the published networks
    "simulations, 2 layers": (lambda: BatchNormMLP(5), 2_597),
    "full, MNIST": (lambda: FullMLP(784, 90), 786_394),
    "convolutions, MNIST": (lambda: ConvMLP(784, 90), 3_689_242),
    "convolutions, CIFAR": (lambda: ConvMLP(3072, 200, CIFAR), 4_701_128),
    "grouped, MNIST": (lambda: ConvMLP(784, 90, normalization="group"), 3_689_242),
    "refined, MNIST": (lambda: RefineNet(784, 90), 7_514_043),
}
SMALL = {
    "simulations": lambda m: BatchNormMLP(64, m),
    "normalised": lambda m: NormalizedMLP(64, 64 if m is None else m, (6, 7)),
    "full": lambda m: FullMLP(64, m, width=4),
    "batch": lambda m: ConvMLP(64, m, (1, 8, 8), width=4),
    "group": lambda m: ConvMLP(64, m, (1, 8, 8), width=4, normalization="group"),
    "bare": lambda m: ConvMLP(64, m, (1, 8, 8), width=4, normalization=None),
    "colours": lambda m: ConvMLP(64, m, (4, 4, 4), width=4),
    "refined": lambda m: RefineNet(64, m, (1, 8, 8), width=4),
    "odd sides": lambda m: nn.Sequential(nn.Linear(64, 3 * 5 * 7), RefineNet(105, m or 64, (3, 5, 7), width=4)),
    "positional": lambda m: PositionalMLP(64, 64 if m is None else m),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_numbers_of_parameters(name):
    make, expected = PUBLISHED[name]
    with torch.device("meta"):
        assert sum(p.numel() for p in make().parameters()) == expected


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("outputs", [3, None])
@pytest.mark.parametrize("name", SMALL)
def test_shapes_of_one_row_and_of_several(name, outputs, training):
    network = SMALL[name](outputs).train(training)
    for n in (1, 2, 5):
        assert network(torch.rand(n, 64)).shape == (n, outputs or 64)


@pytest.mark.parametrize("name", SMALL)
def test_gradients_of_scores_reach_every_parameter(name):
    """The score of an energy is a gradient; training takes another one of it."""
    network = SMALL[name](3).double().eval()
    x = torch.rand(5, 64, dtype=torch.float64, requires_grad=True)
    (score,) = torch.autograd.grad(network(x).square().sum(), x, create_graph=True)
    score.square().sum().backward()
    reached = [p.grad is not None and bool(p.grad.ne(0).any()) for p in network.parameters()]
    assert all(reached)
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_leading_dimensions_of_rows():
    x = torch.rand(2, 3, 64)
    for name in ("full", "batch", "refined"):
        network = SMALL[name](5).eval()
        torch.testing.assert_close(network(x).flatten(0, 1), network(x.flatten(0, 1)))


def test_images_are_what_they_were_before_they_were_flattened():
    network = ConvMLP(2 * 4 * 8, 3, (2, 4, 8), width=4).eval()
    images = torch.rand(5, 2, 4, 8)
    expected = network.head(network.convolutions(images).flatten(1))
    torch.testing.assert_close(network(images.flatten(1)), expected)


def test_shapes_that_are_none():
    with pytest.raises(ValueError, match=r"of 64 pixels, got \(1, 8, 9\)"):
        ConvMLP(64, 3, (1, 8, 9))
    with pytest.raises(ValueError, match="sides of images must be at least 4, got 2 and 32"):
        RefineNet(64, 3, (1, 2, 32))
    with pytest.raises(ValueError, match="width must be even"):
        ConvMLP(64, 3, (1, 8, 8), width=5)
    with pytest.raises(ValueError, match="normalization must be"):
        ConvMLP(64, 3, (1, 8, 8), normalization="layer")
    with pytest.raises(ValueError, match="at least 1"):
        FullMLP(64, 0)
    with pytest.raises(ValueError, match="at least 1"):
        BatchNormMLP(5, layers=0)
    with pytest.raises(ValueError, match="activation must be"):
        NormalizedMLP(5, 3, activation="step")
    with pytest.raises(ValueError, match="at least one frequency"):
        PositionalEncoding(())
    with pytest.raises(ValueError, match="at least 2 channels"):
        InstanceNormPlus(1)


@pytest.mark.parametrize(
    "make",
    [
        lambda copies: BatchNormMLP(5, 3, width=7, copies=copies),
        lambda copies: NormalizedMLP(5, 3, (7, 6), copies=copies),
        lambda copies: FullMLP(5, 3, width=2, dropout=0.0, copies=copies),
    ],
)
def test_copies_are_what_each_is_alone(make):
    many, x = make(4).double(), torch.randn(6, 5, dtype=torch.float64)
    alone = [take_copy(many, index) for index in range(4)]
    for network in (many, *alone):
        network(x)  # running averages
    for training in (True, False):
        out = many.train(training)(x)
        for index, one in enumerate(alone):
            torch.testing.assert_close(one.train(training)(x), out[index])
    torch.testing.assert_close(many(x.expand(4, 6, 5)), out)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_that_of_torch(training):
    ours, theirs = StackedBatchNorm(3), nn.BatchNorm1d(3)
    ours.load_state_dict(theirs.state_dict(), strict=False)
    for _ in range(2):
        x = torch.randn(7, 3) + 1
        torch.testing.assert_close(ours.train(training)(x), theirs.train(training)(x))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_one_row_has_the_averages_of_others():
    norm, x = StackedBatchNorm(3), torch.randn(7, 3)
    norm(x)
    kept = norm.running_mean.clone()
    trained = norm(x[:1])
    assert torch.equal(norm.running_mean, kept)
    torch.testing.assert_close(trained, norm.eval()(x[:1]))


def test_instance_norm_plus_keeps_the_means_of_channels():
    """After it, the mean of a channel of a row is that channel's standardised mean."""
    norm, x = InstanceNormPlus(4).double(), torch.rand(3, 4, 6, 6, dtype=torch.float64)
    means = x.mean((-2, -1))
    standard = (means - means.mean(-1, keepdim=True)) / (means.var(-1, keepdim=True) + 1e-5).sqrt()
    expected = norm.gamma * norm.alpha * standard + norm.beta
    torch.testing.assert_close(norm(x).mean((-2, -1)), expected)


def test_positional_encoding():
    x = torch.tensor([[0.3, -2.0]])
    expected = [*(torch.sin(f * x) for f in (0.5, 4.0)), *(torch.cos(f * x) for f in (0.5, 4.0))]
    torch.testing.assert_close(PositionalEncoding((0.5, 4.0))(x), torch.cat(expected, -1))


def test_free_outputs():
    leaf = FreeOutputs(2000, spread=0.5)
    assert leaf(torch.rand(2, 3, 7)).shape == (2, 3, 2000)
    assert leaf.values.abs().max() <= 0.5
    assert leaf.values.abs().max() > 0.49
    assert not FreeOutputs(2).values.any()
