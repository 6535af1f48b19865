"""The best small inverse kernels, against stored ones, and by what they are for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from logprob.flows.conv_geometry import ConvGeometry
from logprob.flows.conv_log_det import conv_log_det
from logprob.flows.inverse_kernel import fourier_inverse_kernel, least_squares_inverse_kernel, padded_grid

FOLDER = Path(__file__).parents[1] / "golden" / "snf"
GEOMETRY = ConvGeometry((3, 3))


@pytest.fixture
def stored():
    with np.load(FOLDER / "resync.npz", allow_pickle=False) as file:
        return {key: torch.as_tensor(np.asarray(value)) for key, value in file.items()}


def cosine_to_exact(kernel, inverse, image_size):
    kernel = kernel.clone().requires_grad_()
    (exact,) = torch.autograd.grad(conv_log_det(kernel, image_size, GEOMETRY), kernel)
    estimate = GEOMETRY.flip(inverse) * GEOMETRY.counts(image_size, inverse)
    return torch.cosine_similarity(estimate.flatten(), exact.flatten(), dim=0).item()


def noisy(channels, noise=0.5):
    kernel = noise * torch.randn(channels, channels, 3, 3, dtype=torch.float64) / (9 * channels) ** 0.5
    kernel[:, :, 1, 1] += torch.eye(channels)
    return kernel


def test_both_kernels_are_the_stored_ones(stored):
    grid = tuple(stored["shape"][1:3].tolist())
    fourier, least = fourier_inverse_kernel(stored["W"], grid), least_squares_inverse_kernel(stored["W"])
    torch.testing.assert_close(fourier, stored["R_fft"], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(least, stored["R_ls"], rtol=1e-9, atol=1e-11)
    for kernel, name in ((fourier, "cos_fft"), (least, "cos_ls"), (GEOMETRY.flip(stored["W"]), "cos_flip")):
        assert cosine_to_exact(stored["W"], kernel, grid) == pytest.approx(stored[name].item(), abs=1e-9)


@pytest.mark.parametrize(("channels", "image_size"), [(16, (7, 7)), (16, (2, 2)), (3, (8, 5))])
def test_the_padded_grid_gives_nearly_the_exact_gradient(channels, image_size):
    kernel = noisy(channels)
    inverse = fourier_inverse_kernel(kernel, padded_grid(image_size))
    assert cosine_to_exact(kernel, inverse, image_size) > 0.99
    assert cosine_to_exact(kernel, inverse, image_size) > cosine_to_exact(kernel, GEOMETRY.flip(kernel), image_size)


def test_on_its_own_torus_a_pointwise_kernel_is_inverted_exactly():
    kernel = torch.randn(3, 3, 1, 1, dtype=torch.float64)
    expected = torch.linalg.inv(kernel[:, :, 0, 0])
    for inverse in (fourier_inverse_kernel(kernel, (1, 1)), least_squares_inverse_kernel(kernel)):
        torch.testing.assert_close(inverse[:, :, 0, 0], expected)


@pytest.mark.parametrize("invert", [lambda k, g: fourier_inverse_kernel(k, (12, 12), g), least_squares_inverse_kernel])
def test_groups_are_inverted_one_by_one(invert):
    halves = [noisy(2), noisy(2)]
    torch.testing.assert_close(invert(torch.cat(halves), 2), torch.cat([invert(half, 1) for half in halves]))


def test_dilation_spreads_the_taps_and_leaves_the_kernel():
    kernel = noisy(2)
    torch.testing.assert_close(
        fourier_inverse_kernel(kernel, (24, 36), dilation=(2, 3)), fourier_inverse_kernel(kernel, (12, 12))
    )


def test_non_square_kernels_keep_their_shape_and_dtype():
    kernel = torch.zeros(2, 2, 3, 5)
    kernel[:, :, 1, 2] = torch.eye(2) * 2
    for inverse in (fourier_inverse_kernel(kernel, (12, 12)), least_squares_inverse_kernel(kernel)):
        assert inverse.dtype == torch.float32
        torch.testing.assert_close(inverse, kernel / 4)
