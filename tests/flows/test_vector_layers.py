"""Linear and constant layers of vectors, published splines and the logistic base: contracts, states, and originals."""

from __future__ import annotations

import io
import math

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

from logprob.flows import (
    ActNorm,
    Autoregressive,
    ConditionalLULinear,
    ConstantAffine,
    Coupling,
    Flow,
    LULinear,
    PublishedSplineMap,
    ShiftMap,
    SplineMap,
    StandardLogistic,
)
from logprob.nn import SeparateMLPs
from logprob.testing import check_distribution, check_transform

PUBLISHED = PublishedSplineMap(bins=4)
LAYERS = {
    "constant affine": lambda: ConstantAffine(5),
    "lu": lambda: LULinear(5, bias=True),
    "conditional lu": lambda: ConditionalLULinear(5, 2, (8,)),
    "additive coupling": lambda: Coupling(5, ShiftMap(), (8,)),
    "additive autoregressive": lambda: Autoregressive(5, ShiftMap(), hidden=(8,)),
    "published spline": lambda: Autoregressive(5, PUBLISHED, hidden=(8,)),
    "published spline, separate": lambda: Autoregressive(5, PUBLISHED, network=SeparateMLPs(5, 11)),
    "conditional spline coupling": lambda: Coupling(5, SplineMap(bins=4), (8,), context=2),
    "sampling, separate": lambda: Autoregressive(5, None, "sampling", network=SeparateMLPs(5, 2)),
}
EACH = pytest.mark.parametrize("name", LAYERS)


def far_from_the_start(name):
    layer = LAYERS[name]()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return layer.double()


def context_of(name, *batch):
    return torch.randn(*batch, 2, dtype=torch.float64) if "conditional" in name else None


def published_flow(blocks=3):
    layers = []
    for _ in range(blocks):
        layers += [ActNorm(5), LULinear(5), Autoregressive(5, PUBLISHED, network=SeparateMLPs(5, 11, slope=0.2))]
    return Flow(layers, 5, StandardLogistic(5))


@EACH
def test_layer_contract(name):
    x = 2 * torch.randn(4, 5, dtype=torch.float64)
    check_transform(far_from_the_start(name).transform(context_of(name)), x, tolerance=1e-7)


@EACH
def test_gradients_are_those_of_autograd(name):
    layer = far_from_the_start(name)
    rows = [torch.randn(3, 5, dtype=torch.float64), context_of(name, 3)]
    rows = [row.requires_grad_() for row in rows if row is not None]
    assert torch.autograd.gradcheck(layer, rows)
    assert torch.autograd.gradcheck(layer.inverse, rows)
    z, ladj = layer(*rows)
    (z.square().sum() + ladj.sum()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


@EACH
def test_a_state_makes_another_layer_the_same_to_the_last_bit(name):
    layer, other = LAYERS[name](), LAYERS[name]()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    other.load_state_dict(layer.state_dict())
    x, context = torch.randn(6, 5), torch.randn(6, 2) if "conditional" in name else None
    for got, expected in zip(other(x, context), layer(x, context), strict=True):
        assert torch.equal(got, expected)


@EACH
def test_half_precision_and_wrong_shapes(name):
    layer = LAYERS[name]().bfloat16()
    context = torch.randn(4, 2).bfloat16() if "conditional" in name else None
    z, ladj = layer(torch.randn(4, 5).bfloat16(), context)
    assert z.dtype == layer.inverse(z, context).dtype == ladj.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="expected vectors of 5 features"):
        LAYERS[name]()(torch.zeros(2, 4), context)
    with pytest.raises(ValueError, match="expected vectors of 5 features"):
        LAYERS[name]().output_shape((1, 5))


def test_triangular_factors_start_orthogonal_and_permute():
    layer = LULinear(6)
    matrix = layer.factors.matrix()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(6), atol=1e-5, rtol=0)
    assert "factors.rows" in layer.state_dict()  # the permutation
    x = torch.randn(3, 6)
    torch.testing.assert_close(layer(x)[0], x @ matrix.T)


def test_a_context_chooses_the_matrix_of_its_row():
    layer = far_from_the_start("conditional lu")
    x, context = torch.randn(1, 5).double().expand(2, 5), context_of("conditional lu", 2)
    z, ladj = layer(x, context)
    assert (z[0] != z[1]).all()
    assert ladj[0] != ladj[1]
    torch.testing.assert_close(layer(x, context[:1].expand(2, 2))[0][0], z[0])
    with pytest.raises(ValueError, match="expected a context of width 2, got none"):
        layer(x)


def test_additive_layers_keep_volumes_and_constant_parts_can_be_left_out():
    x = torch.randn(4, 5).double()
    for name in ("additive coupling", "additive autoregressive"):
        assert not far_from_the_start(name)(x)[1].any()
    assert [p.requires_grad for p in ConstantAffine(3, scale=False).parameters()] == [False, True]
    assert [p.requires_grad for p in ConstantAffine(3, shift=False).parameters()] == [True, False]


def published_spline(x, parameters, bins, bound):
    """The published function of one number: everything is squashed twice. Slow and obvious."""
    floor = 1e-3
    widths, heights, slopes = parameters.split([bins, bins, bins - 1])
    knots = []
    for raw in (2 * bound * widths.softmax(0), 2 * bound * heights.softmax(0)):
        fractions = floor + (1 - floor * bins) * raw.softmax(0)
        knots.append(-bound + 2 * bound * torch.cat([torch.zeros(1).double(), fractions.cumsum(0)]))
    inner = floor + F.softplus(F.softplus(slopes))
    slopes = torch.cat([torch.ones(1).double(), inner, torch.ones(1).double()])
    k = int((x >= knots[0]).sum()) - 1
    if not 0 <= k < bins:
        return x
    (x0, x1), (y0, y1), (d0, d1) = (part[k : k + 2] for part in (*knots, slopes))
    t, s = (x - x0) / (x1 - x0), (y1 - y0) / (x1 - x0)
    return y0 + (y1 - y0) * (s * t * t + d0 * t * (1 - t)) / (s + (d0 + d1 - 2 * s) * t * (1 - t))


def test_the_published_spline():
    parameters = torch.randn(20, 11, 1, dtype=torch.float64)
    x = (3 * torch.randn(20, 1, dtype=torch.float64)).requires_grad_()
    y, ladj = PUBLISHED(x, parameters)
    expected = torch.stack([published_spline(a, b, 4, 3.0) for a, b in zip(x[:, 0], parameters[..., 0], strict=True)])
    torch.testing.assert_close(y[:, 0], expected)
    (slope,) = torch.autograd.grad(expected.sum(), x)
    torch.testing.assert_close(ladj, slope.log())
    torch.testing.assert_close(PUBLISHED(y, parameters, inverse=True)[0], x)
    ours = SplineMap(4, 3.0)(x, parameters)[0]
    assert not torch.allclose(ours, y)


def test_logistic_law():
    base = StandardLogistic(3)
    x = torch.tensor([[0.0, -3.0, 2.0], [30.0, -40.0, 1e4]], dtype=torch.float64)
    torch.testing.assert_close(base().log_prob(x), torch.from_numpy(stats.logistic.logpdf(x.numpy()).sum(1)))
    law = base().base_dist
    assert law.variance[0] == pytest.approx(math.pi**2 / 3)
    assert law.expand((2, 3)).mean.shape == (2, 3)
    samples = base().rsample((4000,)).flatten().numpy()
    assert stats.kstest(samples, "logistic").pvalue > 1e-4  # fails once in 10^4 seeds
    line = torch.linspace(-40, 40, 20_001, dtype=torch.float64).unsqueeze(1)
    weights = torch.full((20_001,), 4e-3, dtype=torch.float64)
    make = lambda: Flow([ConstantAffine(1)], 1, StandardLogistic(1))  # noqa: E731
    check_distribution(make, torch.randn(7, 1), nodes=line, node_weights=weights)


def test_a_saved_flow_has_the_same_density_to_the_last_bit():
    flow, other, x = published_flow(), published_flow(), torch.randn(50, 5)
    flow.encode(2 * x + 1)  # the first batch sets the normalisation
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    file = io.BytesIO()
    torch.save(flow.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    expected = flow().log_prob(x)
    other.encode(100 * x)  # does not set it again
    assert torch.equal(other().log_prob(x), expected)
    assert torch.equal(other.eval()().log_prob(x), expected)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (lambda: LULinear(0), "features must be at least 1, got 0"),
        (lambda: ConstantAffine(0), "features must be at least 1, got 0"),
        (lambda: ConditionalLULinear(3, 0), "at least 1, got 3 and 0"),
        (lambda: Autoregressive(3, network=SeparateMLPs(3, 4)), "expected a network of 3 inputs and 2 outputs"),
        (lambda: Autoregressive(3, network=SeparateMLPs(3, 2), reverse=True), "neither context nor reverse"),
        (lambda: Autoregressive(3, network=nn.Identity()), "expected a network of 3 inputs"),
        (lambda: PublishedSplineMap(bound=0.0), "bound > 0"),
    ],
)
def test_errors(wrong, match):
    with pytest.raises(ValueError, match=match):
        wrong()
