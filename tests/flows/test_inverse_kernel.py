"""The best small inverse kernels, against stored ones, and by what they are for."""

from __future__ import annotations

import pytest
import torch
from golden_flows import load

from logprob.flows.conv_geometry import ConvGeometry
from logprob.flows.conv_log_det import conv_log_det
from logprob.flows.inverse_kernel import (
    best_inverse_kernel,
    fourier_inverse_kernel,
    inverse_residual,
    least_squares_inverse_kernel,
    padded_grid,
)

GEOMETRY = ConvGeometry((3, 3))


@pytest.fixture
def stored():
    return load("resync")


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


def line(*taps):
    return torch.tensor(taps, dtype=torch.float64)[None, None, None]


SINGULAR = {
    "a frequency of the padded grid": (line(1, 2, 1) * line(1, 2, 1).mT / 16, (8, 8), GEOMETRY),
    "nearly a frequency of the padded grid": (line(0.5, 1, 0.5), (1, 7), ConvGeometry((1, 3))),
    "a frequency of the torus": (line(0.5, 1, 0.5), (1, 8), ConvGeometry((1, 3), circular=True)),
    "groups": (torch.cat([line(0.5, 1, 0.5)] * 2), (1, 7), ConvGeometry((1, 3), groups=2)),
    "dilation": (line(0.5, 1, 0.5), (1, 14), ConvGeometry((1, 3), (1, 2))),
}


@pytest.mark.parametrize("case", SINGULAR)
def test_where_a_frequency_is_annihilated_the_kernel_is_that_of_least_squares(case):
    kernel, image_size, geometry = SINGULAR[case]
    inverse = best_inverse_kernel(kernel, image_size, geometry)
    torch.testing.assert_close(inverse, least_squares_inverse_kernel(kernel, geometry.groups))
    assert inverse_residual(kernel, inverse, image_size, geometry) < 0.5
    assert inverse.abs().max() < 10


@pytest.mark.parametrize("circular", [False, True])
def test_elsewhere_it_is_that_of_the_grid(circular):
    kernel, geometry = noisy(4), ConvGeometry((3, 3), circular=circular)
    expected = fourier_inverse_kernel(kernel, (7, 6) if circular else padded_grid((7, 6)))
    assert torch.equal(best_inverse_kernel(kernel, (7, 6), geometry), expected)


@pytest.mark.parametrize("geometry", [ConvGeometry((3, 3), groups=2), ConvGeometry((3, 5), (2, 1))])
def test_the_residual_is_that_of_an_image_far_from_the_border(geometry):
    channels, (kh, kw) = 4, geometry.kernel_size
    kernel, inverse = (
        torch.randn(2, channels, channels // geometry.groups, kh, kw, dtype=torch.float64) * 0.2
    ).unbind()
    images = torch.zeros(channels, channels, 21, 21, dtype=torch.float64)
    images[:, :, 10, 10] = torch.eye(channels)
    error = geometry.apply(geometry.apply(images, kernel), inverse) - images
    expected = error.square().sum() / channels
    for circular in (False, True):
        same = geometry._replace(circular=circular)
        assert inverse_residual(kernel, inverse, (21, 21), same) == pytest.approx(expected.item())


def test_on_a_small_torus_the_inverse_leaves_nothing():
    kernel, geometry = torch.randn(2, 2, 3, 3, dtype=torch.float64), ConvGeometry((3, 3), circular=True)
    inverse = best_inverse_kernel(kernel, (3, 3), geometry)
    assert inverse_residual(kernel, inverse, (3, 3), geometry) < 1e-12


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_a_weight_without_any_inverse_says_so(value):
    with pytest.raises(torch.linalg.LinAlgError, match="no small kernel comes near an inverse"):
        best_inverse_kernel(torch.full((2, 2, 3, 3), value), (4, 4), GEOMETRY)
