"""1x1 convolutions: published arrays, autograd Jacobians, inverses."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from logprob.flows.mixing import Conv1x1, HouseholderConv1x1, LUConv1x1
from logprob.testing import check_transform

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "snf" / "layers.npz", allow_pickle=False)
LAYERS = {
    "any matrix": lambda: Conv1x1(4),
    "any matrix with bias": lambda: Conv1x1(4, bias=True),
    "LU": lambda: LUConv1x1(4),
    "Householder": lambda: HouseholderConv1x1(4, reflections=3),
    "more reflections than channels": lambda: HouseholderConv1x1(4, reflections=6),
    "one channel": lambda: Conv1x1(1),
}
each_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())


def golden(name):
    return torch.from_numpy(GOLDEN[name])


def perturbed(layer, scale=0.3):
    """In float64 and away from its special start."""
    layer = layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return layer


def test_any_matrix_gives_published_arrays():
    layer = Conv1x1(4).double()
    layer.load_state_dict({"weight": golden("c1b_W")})
    z, ladj = layer(golden("sq_x"))
    torch.testing.assert_close(z, golden("c1b_z"), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(ladj, golden("c1b_ldj").expand(5), rtol=1e-9, atol=1e-11)


def test_reflections_give_published_arrays():
    layer = HouseholderConv1x1(4, reflections=3).double()
    layer.load_state_dict({"vectors": golden("hh_V")})
    torch.testing.assert_close(layer.matrix(), golden("hh_Q"), rtol=1e-9, atol=1e-11)
    z, ladj = layer(golden("sq_x"))
    torch.testing.assert_close(z, golden("hh_z"), rtol=1e-9, atol=1e-11)
    assert torch.equal(ladj, torch.zeros(5, dtype=torch.float64))


@each_layer
def test_contract(make):
    layer = perturbed(make())
    check_transform(layer.transform(), torch.randn(2, layer.channels, 3, 2, dtype=torch.float64))


@each_layer
def test_start_is_orthogonal(make):
    layer = make()
    matrix = layer.matrix()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(layer.channels), rtol=0, atol=1e-5)
    assert layer.matrix_log_det().abs() < 1e-5


@each_layer
def test_gradients_reach_every_parameter(make):
    layer = perturbed(make())
    z, ladj = layer(torch.randn(3, layer.channels, 2, 3, dtype=torch.float64))
    (z.square().sum() - ladj.sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in layer.parameters())


@each_layer
def test_inverse_is_differentiable(make):
    layer = perturbed(make())
    z = torch.randn(2, layer.channels, 2, 2, dtype=torch.float64, requires_grad=True)
    parameters = tuple(layer.parameters())

    def inverse(z, *values):
        state = dict(zip(dict(layer.named_parameters()), values, strict=True))
        return torch.func.functional_call(_Inverse(layer), {f"layer.{k}": v for k, v in state.items()}, (z,))

    assert torch.autograd.gradcheck(inverse, (z, *parameters))


class _Inverse(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, z):
        return self.layer.inverse(z)


@each_layer
def test_copies_vmap_and_compile_agree(make):
    layer = make()
    x = torch.randn(3, layer.channels, 2, 2)
    z, ladj = layer(x)
    other = make()
    other.load_state_dict(layer.state_dict())
    for same in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(same(x)[0], z)
        assert torch.equal(same(x)[1], ladj)
    rows = torch.func.vmap(lambda row: layer(row[None])[0][0])(x)
    torch.testing.assert_close(rows, z)
    torch.compiler.reset()
    compiled = torch.compile(lambda x: layer(x), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), (z, ladj))


@each_layer
def test_single_precision_round_trip(make):
    layer = make()
    x = torch.randn(20, layer.channels, 8, 8)
    assert (layer.inverse(layer(x)[0]) - x).abs().max() < 1e-5


@each_layer
def test_autocast_leaves_the_matrix_its_precision(make):
    layer = make()
    x = torch.randn(3, layer.channels, 4, 4)
    expected, log_det = layer.matrix(), layer(x)[1]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.matrix(), expected)
        z, ladj = layer(x)
        torch.testing.assert_close(layer.inverse(z).float(), x, rtol=0, atol=0.05)
        torch.testing.assert_close(layer.inverse(layer.inverse(x) * 0 + x), layer.inverse(x))
    assert torch.equal(ladj, log_det)


@each_layer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_goes_through_float32(make, dtype):
    layer = make().to(dtype)
    x = torch.randn(3, layer.channels, 4, 4, dtype=dtype)
    z, ladj = layer(x)
    back = layer.inverse(z)
    assert z.dtype == ladj.dtype == back.dtype == dtype
    torch.testing.assert_close(back, x, rtol=0, atol=0.05)
    (z.square().sum() - ladj.sum() + back.sum()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


@each_layer
def test_an_empty_batch(make):
    layer = make()
    x = torch.zeros(0, layer.channels, 4, 3)
    z, ladj = layer(x)
    assert z.shape == layer.inverse(z).shape == x.shape
    assert ladj.shape == (0,)


def test_errors():
    with pytest.raises(ValueError, match="channels must be at least 1, got 0"):
        Conv1x1(0)
    with pytest.raises(ValueError, match="reflections must be at least 1, got 0"):
        HouseholderConv1x1(3, reflections=0)
    layer = Conv1x1(3)
    for shape in ((2, 4, 5, 5), (3, 5, 5)):
        with pytest.raises(ValueError, match=r"\(B, 3, H, W\), got"):
            layer(torch.zeros(shape))
        with pytest.raises(ValueError, match=r"\(B, 3, H, W\), got"):
            layer.inverse(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"\(3, H, W\), got \(4, 5, 5\)"):
        layer.output_shape((4, 5, 5))
    assert layer.output_shape((3, 5, 5)) == layer.input_shape((3, 5, 5)) == (3, 5, 5)
