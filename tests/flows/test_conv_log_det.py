"""Exact log-determinants and solves of convolutions: against stored values, and the matrix of unit vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_flows import load

from logprob.flows.conv_band import BandFactors
from logprob.flows.conv_geometry import ConvGeometry, same_size, tap_counts
from logprob.flows.conv_log_det import MANY, TOLERANCE, _BandLogDet, _residual, conv_log_det, conv_solve, eliminate

# (channels, image, geometry)
OPERATORS = {
    "1x1": (3, (3, 4), ConvGeometry((1, 1))),
    "1x1 in groups": (4, (3, 2), ConvGeometry((1, 1), groups=2)),
    "3x3": (2, (5, 4), ConvGeometry((3, 3))),
    "3x5": (2, (6, 4), ConvGeometry((3, 5))),
    "5x3": (2, (4, 6), ConvGeometry((5, 3))),
    "5x5, a part of a block left over": (1, (7, 5), ConvGeometry((5, 5))),
    "1x3": (2, (3, 5), ConvGeometry((1, 3))),
    "5x1": (2, (5, 3), ConvGeometry((5, 1))),
    "kernel larger than the image": (2, (2, 1), ConvGeometry((5, 7))),
    "groups": (4, (3, 4), ConvGeometry((3, 3), groups=2)),
    "dilation": (2, (5, 4), ConvGeometry((3, 3), dilation=(2, 3))),
    "dilation beyond the image": (2, (3, 3), ConvGeometry((3, 3), dilation=(4, 1))),
    "circular": (2, (5, 4), ConvGeometry((3, 3), circular=True)),
    "circular, dilation, groups": (4, (5, 6), ConvGeometry((3, 3), (2, 1), 2, circular=True)),
}
GEOMETRY = ConvGeometry((3, 3))
ZERO_PADDED = [name for name in OPERATORS if "circular" not in name]


def random_kernel(channels, geometry, noise=0.3):
    kh, kw = geometry.kernel_size
    width = channels // geometry.groups
    kernel = noise * torch.randn(channels, width, kh, kw, dtype=torch.float64) / (width * kh * kw) ** 0.5
    kernel[:, :, kh // 2, kw // 2] += torch.eye(width, dtype=torch.float64).repeat(geometry.groups, 1)
    return kernel


def dense(kernel, image_size, geometry):
    """The matrix of the operator, column by column."""
    size = kernel.shape[0] * image_size[0] * image_size[1]
    units = torch.eye(size, dtype=kernel.dtype).reshape(size, kernel.shape[0], *image_size)
    return geometry.apply(units, kernel).reshape(size, size).T


@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3), (3, 5), (5, 3), (5, 5)])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("image_size", [(6, 6), (2, 3), (7, 4)])
def test_tap_counts_are_those_of_a_search(kernel_size, dilation, image_size):
    padding = tuple(dilation * (taps // 2) for taps in kernel_size)
    expected = torch.zeros(kernel_size, dtype=torch.int64)
    for i, j in np.ndindex(*kernel_size):
        for y, x in np.ndindex(*image_size):
            row, column = y + dilation * i - padding[0], x + dilation * j - padding[1]
            expected[i, j] += 0 <= row < image_size[0] and 0 <= column < image_size[1]
    assert torch.equal(tap_counts(kernel_size, image_size, padding, (dilation, dilation)), expected)


@pytest.mark.parametrize("index", range(9))
def test_log_determinants_gradients_and_solutions_are_the_stored_ones(index):
    file = {key.rsplit("_", 1)[0]: value for key, value in load("logdets").items() if key.endswith(f"_{index}")}
    _, height, width, kh, kw, circular = file["shape"].tolist()
    geometry = ConvGeometry((kh, kw), circular=bool(circular))
    kernel = file["K"].clone().requires_grad_()
    log_det = conv_log_det(kernel, (height, width), geometry)
    log_det.backward()
    torch.testing.assert_close(log_det.detach(), file["logdet"], rtol=0, atol=1e-9)
    torch.testing.assert_close(kernel.grad, file["dlogdet"], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(geometry.apply(file["x"], file["K"]), file["z"])
    torch.testing.assert_close(conv_solve(file["z"], file["K"], geometry), file["x"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_has_the_determinant_of_its_matrix(name):
    channels, image_size, geometry = OPERATORS[name]
    kernel = random_kernel(channels, geometry).requires_grad_()
    expected = torch.linalg.slogdet(dense(kernel, image_size, geometry))[1]
    (expected_gradient,) = torch.autograd.grad(expected, kernel)
    log_det = conv_log_det(kernel, image_size, geometry)
    (gradient,) = torch.autograd.grad(log_det, kernel)
    torch.testing.assert_close(log_det, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(conv_log_det(kernel, image_size, geometry), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_is_solved_and_the_solution_differentiated(name):
    channels, image_size, geometry = OPERATORS[name]
    kernel = random_kernel(channels, geometry).requires_grad_()
    z = torch.randn(2, channels, *image_size, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(geometry.apply(conv_solve(z, kernel, geometry), kernel), z)
    weights = torch.randn_like(z)

    def by_matrix(z, kernel):
        return torch.linalg.solve(dense(kernel, image_size, geometry), z.flatten(1).T).T.reshape(z.shape)

    expected = torch.autograd.grad((by_matrix(z, kernel) * weights).sum(), (z, kernel))
    got = torch.autograd.grad((conv_solve(z, kernel, geometry) * weights).sum(), (z, kernel))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_empty_batch_is_solved(name):
    channels, image_size, geometry = OPERATORS[name]
    kernel = random_kernel(channels, geometry).requires_grad_()
    z = torch.zeros(0, channels, *image_size, requires_grad=True)
    x = conv_solve(z, kernel, geometry)
    assert x.shape == z.shape
    x.sum().backward()
    assert not kernel.grad.any()


def test_the_gradient_of_the_band_path_takes_unit_vectors_a_few_at_a_time(monkeypatch):
    kernel = random_kernel(2, GEOMETRY).unsqueeze(0).requires_grad_()
    rows = []
    monkeypatch.setattr("logprob.flows.conv_log_det.CHUNK", 7)
    monkeypatch.setattr(
        "logprob.flows.conv_log_det._adjoint",
        lambda factors, units: rows.append(len(units)) or factors.solve(units.T, transposed=True).T,
    )
    (got,) = torch.autograd.grad(_BandLogDet.apply(kernel, (4, 5)), kernel)
    (expected,) = torch.autograd.grad(eliminate(kernel, (4, 5)).log_det, kernel)
    torch.testing.assert_close(got, expected)
    assert rows == [7, 7, 7, 7, 7, 5]


@pytest.mark.parametrize("padding", ["valid", "full", 0])
def test_a_padding_that_changes_the_size_is_refused(padding):
    with pytest.raises(ValueError, match=rf"padding must be 'same' or \(1, 1\), .* got {padding!r}"):
        same_size(2, 3, padding=padding)


def test_many_right_hand_sides_are_solved_by_elimination_and_few_by_the_band():
    channels, image_size, geometry = OPERATORS["3x5"]
    kernel, z = random_kernel(channels, geometry), torch.randn(MANY, channels, *image_size, dtype=torch.float64)
    many, few = conv_solve(z, kernel, geometry), conv_solve(z[:3], kernel, geometry)
    torch.testing.assert_close(many[:3], few)
    torch.testing.assert_close(geometry.apply(many, kernel), z)


@pytest.mark.parametrize("name", ZERO_PADDED)
def test_elimination_and_band_factors_agree(name):
    channels, image_size, geometry = OPERATORS[name]
    blocks = geometry.split(random_kernel(channels, geometry)).requires_grad_()
    factors, band = eliminate(blocks, image_size), _BandLogDet.apply(blocks, image_size)
    assert _residual(factors, blocks, image_size) < 1e-12
    torch.testing.assert_close(factors.log_det, band)
    torch.testing.assert_close(*(torch.autograd.grad(value, blocks) for value in (factors.log_det, band)))
    right = torch.randn(len(blocks), blocks.shape[1] * image_size[0] * image_size[1], 3, dtype=torch.float64)
    expected = torch.stack([BandFactors(k, image_size).solve(r) for k, r in zip(blocks, right, strict=True)])
    torch.testing.assert_close(factors.solve(right), expected)


@pytest.mark.parametrize("image_size", [(6, 8), (24, 5)])
def test_small_blocks_are_joined_without_changing_the_answer(image_size, monkeypatch):
    blocks = random_kernel(2, ConvGeometry((3, 3))).unsqueeze(0)
    joined = eliminate(blocks, image_size)
    monkeypatch.setattr("logprob.flows.conv_block.SMALL", 1)
    single = eliminate(blocks, image_size)
    assert len(joined.inverses) < len(single.inverses) == image_size[0]
    torch.testing.assert_close(joined.log_det, single.log_det)


def test_a_kernel_that_elimination_cannot_do_takes_the_band_path(monkeypatch):
    monkeypatch.setattr("logprob.flows.conv_block.SMALL", 1)
    geometry = ConvGeometry((3, 3))
    kernel = torch.zeros(1, 1, 3, 3, dtype=torch.float64)  # no pixel reads its own row: the first block is zero
    kernel[0, 0, 0, 1], kernel[0, 0, 2, 1] = 2.0, 3.0
    assert not _residual(eliminate(kernel.unsqueeze(0), (4, 4)), kernel.unsqueeze(0), (4, 4)) <= TOLERANCE
    kernel.requires_grad_()
    expected = torch.linalg.slogdet(dense(kernel, (4, 4), geometry))[1]
    log_det = conv_log_det(kernel, (4, 4), geometry)
    torch.testing.assert_close(log_det, expected)
    torch.testing.assert_close(*(torch.autograd.grad(value, kernel) for value in (log_det, expected)))
    z = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(geometry.apply(conv_solve(z, kernel, geometry), kernel), z)


def test_a_singular_operator_says_so():
    kernel, geometry = torch.zeros(2, 2, 3, 3), ConvGeometry((3, 3))
    assert conv_log_det(kernel, (4, 4), geometry) == -torch.inf
    with pytest.raises(torch.linalg.LinAlgError, match="singular"):
        conv_solve(torch.ones(1, 2, 4, 4), kernel, geometry)


def test_second_derivatives():
    geometry = ConvGeometry((3, 3))
    kernel = random_kernel(1, geometry).requires_grad_()
    z = torch.randn(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda k: conv_log_det(k, (3, 3), geometry), kernel)
    assert torch.autograd.gradgradcheck(lambda z, k: conv_solve(z, k, geometry), (z, kernel))


def test_function_transforms_and_compilation_take_the_block_path():
    geometry = ConvGeometry((3, 3))
    kernels = torch.stack([random_kernel(2, geometry) for _ in range(3)])
    expected = torch.stack([conv_log_det(kernel, (4, 5), geometry) for kernel in kernels])
    torch.testing.assert_close(torch.func.vmap(lambda k: conv_log_det(k, (4, 5), geometry))(kernels), expected)
    torch.compiler.reset()
    compiled = torch.compile(lambda k: conv_log_det(k, (4, 5), geometry), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(kernels[0]), expected[0])
    z = torch.randn(3, 2, 2, 4, 5, dtype=torch.float64)
    solved = torch.func.vmap(lambda z, k: conv_solve(z, k, geometry))(z, kernels)
    torch.testing.assert_close(solved[1], conv_solve(z[1], kernels[1], geometry))


def test_float32_is_computed_in_float64():
    geometry = ConvGeometry((3, 3))
    kernel = random_kernel(3, geometry).float()
    log_det = conv_log_det(kernel, (6, 6), geometry)
    assert log_det.dtype == torch.float32
    assert log_det == conv_log_det(kernel.double(), (6, 6), geometry).float()
