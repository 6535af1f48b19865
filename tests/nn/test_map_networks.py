"""Networks of maps: parameters of the published ones, cells that see their surroundings only, errors."""

from __future__ import annotations

import pytest
import torch

from logprob.nn import MLP, ConvEncoder, CostNetwork, FlattenedImages, PureConvNet, ResNet18

SMALL = {
    "cost": lambda: CostNetwork(9, width=4),
    "resnet": lambda: ResNet18(9, width=4),
    "pure": lambda: PureConvNet(9),
    "mlp": lambda: FlattenedImages(9, (3, 24, 24), MLP),
    "convolutional": lambda: FlattenedImages(
        9, (3, 24, 24), lambda inputs, outputs: ConvEncoder(inputs, outputs, (3, 24, 24), (4,))
    ),
}


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_sizes_are_the_published_ones():
    """11,689,512 parameters with 1000 outputs; the stem has 9,536, the first stage 147,968."""
    assert parameters(ResNet18(1000)) == 11_689_512
    assert parameters(CostNetwork(144)) == 9_536 + 147_968


@pytest.mark.parametrize("name", SMALL)
def test_shapes_and_gradients(name):
    torch.manual_seed(0)
    network = SMALL[name]()
    out = network(torch.rand(2, 3, 24, 24))
    assert out.shape == (2, 9)
    assert name == "resnet" or (out >= 0).all()
    out.square().sum().backward()
    assert all(parameter.grad.ne(0).any() for parameter in network.parameters())


@pytest.mark.parametrize("name", ["cost", "pure"])
def test_cells_see_what_is_near(name):
    """The receptive field: 43 pixels in the residual network, 9 in the plain one."""
    network = {"cost": CostNetwork(144, width=4), "pure": PureConvNet(144)}[name].eval()
    image = torch.rand(1, 3, 96, 96, requires_grad=True)
    network(image)[0, 0].backward()
    assert image.grad.any()
    assert not image.grad[..., 40:, :].any()
    assert not image.grad[..., 40:].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CostNetwork(10), "square map, got 10"),
        (lambda: PureConvNet(8), "square map, got 8"),
        (lambda: PureConvNet(9, kernel_size=4), "odd"),
        (lambda: ResNet18(0), "at least 1"),
    ],
)
def test_bad_numbers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
