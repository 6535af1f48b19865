"""Emerging convolutions: published arrays, autograd Jacobians, the inverse by anti-diagonals."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from logprob.flows.emerging import AutoregressiveConv2d, EmergingConv2d, Flip, solve_autoregressive
from logprob.testing import check_transform

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "snf" / "emerging.npz", allow_pickle=False)
CLOSE = {"rtol": 1e-9, "atol": 1e-11}
LAYERS = {"autoregressive": AutoregressiveConv2d, "emerging": EmergingConv2d}
each_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())


def golden(name):
    return torch.from_numpy(GOLDEN[name])


def images(channels=3, batch=2, height=3, width=4):
    return torch.randn(batch, channels, height, width, dtype=torch.float64)


def test_autoregressive_gives_published_arrays():
    layer = AutoregressiveConv2d(3).double()
    layer.load_state_dict({"weight": golden("ar_w"), "bias": golden("ar_b")})
    z, ladj = layer(golden("x"))
    torch.testing.assert_close(layer.weight * layer.mask, golden("ar_w_masked"), **CLOSE)
    torch.testing.assert_close(z, golden("ar_z"), **CLOSE)
    torch.testing.assert_close(ladj, golden("ar_ldj"), **CLOSE)
    torch.testing.assert_close(layer.inverse(golden("ar_z")), golden("ar_xinv"), **CLOSE)


def test_emerging_gives_published_arrays():
    layer = EmergingConv2d(3).double()
    names = {"0.weight": "W1x1", "1.weight": "w_a", "1.bias": "b_a", "3.weight": "w_b", "3.bias": "b_b"}
    layer.load_state_dict({f"layers.{ours}": golden(f"em_{theirs}") for ours, theirs in names.items()})
    z, ladj = layer(golden("x"))
    torch.testing.assert_close(z, golden("em_z"), **CLOSE)
    torch.testing.assert_close(ladj, golden("em_ldj"), **CLOSE)
    torch.testing.assert_close(layer.inverse(golden("em_z")), golden("em_xinv"), **CLOSE)


@each_layer
@pytest.mark.parametrize("shape", [(3, 3, 4), (1, 4, 2), (2, 1, 3), (2, 3, 1), (2, 1, 1)])
def test_contract(make, shape):
    layer = make(shape[0]).double()
    check_transform(layer.transform(event_dim=3), torch.randn(2, *shape, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (1, 6), (6, 1), (4, 4)])
def test_inverse_equals_solution_of_the_dense_system(shape):
    layer = AutoregressiveConv2d(2, noise=0.5).double()
    weight, z = (layer.weight * layer.mask).detach(), images(2, 3, *shape)
    size = z[0].numel()
    unit = torch.eye(size, dtype=torch.float64).reshape(size, 2, *shape)
    matrix = F.conv2d(F.pad(unit, (1, 0, 1, 0)), weight).reshape(size, size).T
    expected = torch.linalg.solve(matrix, z.reshape(3, size).T).T
    torch.testing.assert_close(solve_autoregressive(z, weight).reshape(3, size), expected, rtol=1e-9, atol=1e-9)


def test_inverse_is_differentiable():
    layer = AutoregressiveConv2d(2).double()
    weight = (layer.weight * layer.mask).detach().requires_grad_()
    # The upper triangle of the last tap is no argument: the solution never reads it.
    assert torch.autograd.gradcheck(
        lambda z, w: solve_autoregressive(z, w * layer.mask), (images(2).requires_grad_(), weight)
    )


def test_matrix_is_triangular_in_raster_order():
    layer = AutoregressiveConv2d(2).double()
    x = images(2, 1)[0]

    def raster(flat):
        return layer(flat.reshape(3, 4, 2).permute(2, 0, 1)[None])[0][0].permute(1, 2, 0).flatten()

    jacobian = torch.func.jacrev(raster)(x.permute(1, 2, 0).flatten())
    assert torch.equal(jacobian.triu(1), torch.zeros_like(jacobian))


def test_receptive_field_of_the_whole_is_three_by_three():
    layer = EmergingConv2d(2).double()
    jacobian = torch.func.jacrev(lambda x: layer(x[None])[0][0, :, 2, 2].sum())(images(2, 1, 5, 5)[0])
    seen = jacobian.abs().sum(0) > 0
    expected = torch.zeros(5, 5, dtype=torch.bool)
    expected[1:4, 1:4] = True
    assert torch.equal(seen, expected)


@each_layer
def test_gradients_reach_every_parameter(make):
    layer = make(3)
    z, ladj = layer(images().float())
    (z.square().sum() - ladj.sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in layer.parameters())


@each_layer
def test_copies_vmap_and_compile_agree(make):
    layer, other = make(3), make(3)
    x = images().float()
    z, ladj = layer(x)
    other.load_state_dict(layer.state_dict())
    for same in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(same(x)[0], z)
        assert torch.equal(same(x)[1], ladj)
    torch.testing.assert_close(torch.func.vmap(lambda row: layer(row[None])[0][0])(x), z)
    torch.compiler.reset()
    compiled = torch.compile(lambda x: layer(x), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), (z, ladj))


@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 4, 4), (16, 2, 2), (1, 28, 28)])
def test_single_precision_round_trip_after_training(shape):
    layer = EmergingConv2d(shape[0])
    assert _round_trip(layer, torch.randn(50, *shape)) < 1e-4
    optimizer = torch.optim.Adam(layer.parameters(), 1e-3)
    for _ in range(200):
        z, ladj = layer(torch.randn(10, *shape))
        optimizer.zero_grad()
        (z.square().flatten(1).sum(1) / 2 - ladj).mean().backward()
        optimizer.step()
    assert _round_trip(layer, torch.randn(50, *shape)) < 1e-4


def _round_trip(layer, x):
    with torch.no_grad():
        return (layer.inverse(layer(x)[0]) - x).abs().max()


def test_a_zero_on_the_diagonal_is_reported_as_minus_infinity():
    layer = AutoregressiveConv2d(2)
    with torch.no_grad():
        layer.weight[0, 0, 1, 1] = 0
    assert layer(images(2).float())[1].tolist() == [-float("inf")] * 2


@each_layer
def test_half_precision_and_autocast_solve_in_float32(make):
    layer, x = make(3), images().float()
    z = layer(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer.inverse(z), x, rtol=0, atol=1e-4)
    layer, z = layer.bfloat16(), z.bfloat16()
    assert layer.inverse(z).dtype == layer(z)[0].dtype == torch.bfloat16
    torch.testing.assert_close(layer.inverse(z).float(), x, rtol=0, atol=0.1)


@each_layer
def test_an_empty_batch(make):
    layer, x = make(3), images(batch=0).float()
    z, ladj = layer(x)
    assert z.shape == layer.inverse(z).shape == x.shape
    assert ladj.shape == (0,)


def test_flip():
    check_transform(Flip().transform(), images())


def test_errors():
    with pytest.raises(ValueError, match="channels must be at least 1, got 0"):
        AutoregressiveConv2d(0)
    for layer in (AutoregressiveConv2d(3), EmergingConv2d(3)):
        for call in (layer, layer.inverse):
            with pytest.raises(ValueError, match=r"\(B, 3, H, W\), got \(2, 4, 5, 5\)"):
                call(torch.zeros(2, 4, 5, 5))
        with pytest.raises(ValueError, match=r"\(3, H, W\), got \(4, 5, 5\)"):
            layer.output_shape((4, 5, 5))
        assert layer.output_shape((3, 5, 5)) == layer.input_shape((3, 5, 5)) == (3, 5, 5)
