"""The fused spline beside an unfused one, autograd, zuko, and the limits of float32."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from logprob.flows.spline import rational_quadratic_spline

BINS, BOUND = 6, 3.0
BATCHES = {
    "a set for each element": ((5, 4), (5, 4)),
    "a set for each column": ((5, 4), (4,)),
    "one set": ((5, 4), ()),
    "one set for rows of an image": ((2, 3, 4), (3, 1)),
    "one point, many sets": ((), (5, 4)),
}
BOTH = pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])


def parameters(*batch, bins=BINS, spread=1.0, dtype=torch.float64):
    return [spread * torch.randn(*batch, size, dtype=dtype) for size in (bins, bins, bins - 1)]


def knots(widths, heights, derivatives, bound=BOUND):
    """Knots and slopes from the formulas, by autograd."""
    bins = widths.shape[-1]
    sizes = [1e-3 + (1 - 1e-3 * bins) * raw.softmax(-1) for raw in (widths, heights)]
    x, y = (F.pad(2 * bound * size.cumsum(-1), (1, 0)) - bound for size in sizes)
    slopes = 1e-3 + F.softplus(derivatives + math.log(math.expm1(1 - 1e-3)))
    return x, y, F.pad(slopes, (1, 1), value=1.0)


def reference(x, *raw):
    """The spline one operation at a time, a set of parameters for each element."""
    inside = x.abs() < BOUND
    point = torch.where(inside, x, torch.zeros_like(x)).unsqueeze(-1)
    place, value, slope = knots(*raw)
    k = torch.searchsorted(place[..., 1:-1].contiguous(), point, right=True)
    (x0, y0, d0), (x1, y1, d1) = ([table.gather(-1, k + i) for table in (place, value, slope)] for i in (0, 1))
    t, s = (point - x0) / (x1 - x0), (y1 - y0) / (x1 - x0)
    denominator = s + (d0 + d1 - 2 * s) * t * (1 - t)
    y = y0 + (y1 - y0) * (s * t**2 + d0 * t * (1 - t)) / denominator
    slope_here = s**2 * (d1 * t**2 + 2 * s * t * (1 - t) + d0 * (1 - t) ** 2) / denominator**2
    return torch.where(inside, y.squeeze(-1), x), torch.where(inside, slope_here.log().squeeze(-1), 0.0)


@pytest.mark.parametrize("case", BATCHES)
def test_equals_the_unfused_spline(case):
    shape, batch = BATCHES[case]
    x = (2 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    raw = [part.requires_grad_() for part in parameters(*batch)]
    full = torch.broadcast_shapes(shape, batch)
    wide = [part.expand(*full, part.shape[-1]) for part in raw]
    got, expected = rational_quadratic_spline(x, *raw, BOUND), reference(x.expand(full), *wide)
    weights = torch.randn(2, *full, dtype=torch.float64)
    gradients = []
    for pair in (got, expected):
        loss = sum((weight * part).sum() for weight, part in zip(weights, pair, strict=True))
        gradients.append(torch.autograd.grad(loss, [x, *raw]))
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-8, atol=1e-10)


@BOTH
@pytest.mark.parametrize("case", BATCHES)
def test_derivatives_of_both_orders(case, inverse):
    shape, batch = BATCHES[case]
    x = (2 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    raw = [part.requires_grad_() for part in parameters(*batch, bins=3)]

    def spline(x, *raw):
        return rational_quadratic_spline(x, *raw, BOUND, inverse)

    assert torch.autograd.gradcheck(spline, (x, *raw))
    assert torch.autograd.gradgradcheck(spline, (x, *raw))


@pytest.mark.parametrize("case", BATCHES)
def test_inverse_and_log_derivative(case):
    shape, batch = BATCHES[case]
    x, raw = 2 * torch.randn(shape, dtype=torch.float64), parameters(*batch)
    y, ladj = rational_quadratic_spline(x, *raw, BOUND)
    back, negative = rational_quadratic_spline(y, *raw, BOUND, inverse=True)
    torch.testing.assert_close(back, x.expand_as(back))
    torch.testing.assert_close(negative, -ladj)
    slope = torch.autograd.functional.jvp(
        lambda x: rational_quadratic_spline(x, *raw, BOUND)[0], x, torch.ones(()) + 0 * x
    )
    torch.testing.assert_close(slope[1].log(), ladj)


@BOTH
def test_equals_zuko(inverse):
    import zuko

    x, raw = 2 * torch.randn(7, 4, dtype=torch.float64), parameters(7, 4)
    peer = zuko.transforms.MonotonicRQSTransform(*raw, bound=BOUND)
    peer.horizontal, peer.vertical, slopes = knots(*raw)
    peer.derivatives = slopes
    y, ladj = rational_quadratic_spline(x, *raw, BOUND, inverse)
    if inverse:
        torch.testing.assert_close(y, peer.inv(x))
    else:
        torch.testing.assert_close((y, ladj), peer.call_and_ladj(x))


def test_zeros_are_the_identity():
    x = torch.linspace(-4, 4, 101, dtype=torch.float64)
    y, ladj = rational_quadratic_spline(x, *parameters(spread=0.0), BOUND)
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(ladj, torch.zeros_like(x))


@BOTH
def test_outside_and_not_numbers(inverse):
    x = torch.tensor([-math.inf, -1e30, -BOUND, BOUND, 5.0, math.inf, math.nan]).requires_grad_()
    raw = [part.requires_grad_() for part in parameters(dtype=torch.float32)]
    y, ladj = rational_quadratic_spline(x, *raw, BOUND, inverse)
    assert torch.equal(y.nan_to_num(7.0), x.nan_to_num(7.0))
    assert torch.equal(ladj, torch.zeros(7))
    gradients = torch.autograd.grad(y.sum() + ladj.sum(), [x, *raw])
    assert torch.equal(gradients[0], torch.ones(7))
    assert all(not gradient.any() for gradient in gradients[1:])


@pytest.mark.parametrize("spread", [0.01, 1.0, 5.0, 30.0])
def test_float32(spread):
    """At spread 30 bins are at their floors, and slopes range from 0.001 to 100."""
    raw = parameters(4000, 1, bins=8, spread=spread)
    x = torch.linspace(-5, 5, 31, dtype=torch.float64).expand(4000, 31)
    y, ladj = rational_quadratic_spline(x, *raw)
    low = [part.float().requires_grad_() for part in raw]
    points = x.float().requires_grad_()
    y32, ladj32 = rational_quadratic_spline(points, *low)
    slope = ladj.exp().clamp(min=1)
    assert ((y32 - y).abs() / slope).max() < 2e-5  # an error of x by some units of rounding
    assert ladj32.isfinite().all()
    for gradient in torch.autograd.grad(y32.sum() + ladj32.sum(), [points, *low]):
        assert gradient.isfinite().all()
    back, negative = rational_quadratic_spline(y32.detach(), *low, inverse=True)
    assert ((back - x).abs() * ladj.exp().clamp(max=1)).max() < 5e-5
    assert negative.isfinite().all()
    for gradient in torch.autograd.grad(back.sum() + negative.sum(), low):
        assert gradient.isfinite().all()


def test_increasing_at_the_floors():
    raw = parameters(200, 1, bins=10, spread=50.0, dtype=torch.float32)
    x = torch.linspace(-5.01, 5.01, 3001).expand(200, 3001)
    y, _ = rational_quadratic_spline(x, *raw)
    # Neighbours in different bins round differently.
    assert (y.diff() >= -2e-6).all()


def test_tables_are_not_tiled_over_the_batch():
    rows, bins = 50, 16
    x = torch.randn(rows, 7, requires_grad=True)
    raw = [part.requires_grad_() for part in parameters(7, bins=bins, dtype=torch.float32)]
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t.numel()), t)[1], lambda t: t):
        rational_quadratic_spline(x, *raw)
    assert max(saved) < rows * 7 * bins / 4


@BOTH
def test_functional_transforms_and_compilation(inverse):
    x, raw = torch.randn(5, 4, dtype=torch.float64), parameters(5, 4)

    def spline(x, *raw):
        return rational_quadratic_spline(x, *raw, BOUND, inverse)

    expected = spline(x, *raw)
    torch.testing.assert_close(torch.func.vmap(spline)(x, *raw), expected)
    shared = [part[0] for part in raw]
    torch.testing.assert_close(torch.func.vmap(spline, (0, None, None, None))(x, *shared), spline(x, *shared))
    jacobian = torch.func.vmap(torch.func.jacrev(lambda *a: spline(*a)[0]))(x, *raw)
    torch.testing.assert_close(jacobian.diagonal(dim1=1, dim2=2).log(), expected[1])
    compiled = torch.compile(spline, backend="aot_eager", fullgraph=True)
    raw[0].requires_grad_()
    torch.testing.assert_close(compiled(x, *raw), expected)
    gradients = [torch.autograd.grad(f(x, *raw)[1].sum(), raw[0]) for f in (spline, compiled)]
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize(
    ("sizes", "bound", "match"),
    [
        ((5, 4, 4), 1.0, "K widths, K heights and K - 1 derivatives, got 5, 4 and 4"),
        ((5, 5, 5), 1.0, "got 5, 5 and 5"),
        ((5, 5, 4), 0.0, "bound must be positive"),
        ((1000, 1000, 999), 1.0, "K < 1000"),
    ],
)
def test_errors(sizes, bound, match):
    with pytest.raises(ValueError, match=match):
        rational_quadratic_spline(torch.zeros(3), *(torch.zeros(size) for size in sizes), bound)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("batch", [(0, 3), (3,), (), (1, 3)], ids=str)
def test_an_empty_batch(batch, inverse):
    raw = [part.requires_grad_() for part in parameters(*batch)]
    y, ladj = rational_quadratic_spline(torch.zeros(0, 3).double(), *raw, inverse=inverse)
    assert y.shape == ladj.shape == (0, 3)
    (y.sum() + ladj.sum()).backward()
    assert all(part.grad.shape == part.shape for part in raw)
