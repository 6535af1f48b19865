"""Convolution exponentials: published arrays, matrix exponentials, the power iteration and its state."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from golden_flows import load
from torch.utils.checkpoint import checkpoint

from logprob.flows.exponential import BiasMap, ConvolutionExponential, ExponentialConv2d
from logprob.flows.exponential_series import convolution_exponential, power_step, remainder_bound, rescale
from logprob.flows.mixing import Conv1x1, HouseholderConv1x1
from logprob.testing import check_transform

FILES = ("convexp", "convexp_small")
each_file = pytest.mark.parametrize("file", FILES)


def strong(channels=2, image_size=(3, 4), factor=20.0, **options):
    """A layer in float64 whose norm constraint is active."""
    layer = ConvolutionExponential(channels, image_size, **options).double()
    with torch.no_grad():
        layer.kernel.mul_(factor)
    layer.tighten()
    return layer


def dense(kernel, shape):
    size = math.prod(shape)
    unit = torch.eye(size, dtype=kernel.dtype).reshape(size, *shape)
    return F.conv2d(unit, kernel, padding=1).reshape(size, size).T


def published_layer(g):
    channels, height, width = g["pre_bias"].shape
    layer = ExponentialConv2d(channels, (height, width)).double()
    exponential = layer[2]
    with torch.no_grad():
        layer[0].bias.copy_(g["pre_bias"])
        layer[1].weight.copy_(g["W1x1"])
        layer[3].bias.copy_(g["post_bias"])
        exponential.kernel.copy_(g["kernel_raw"])
        exponential.u.copy_(g["u0"].reshape(exponential.u.shape))
        exponential.v.copy_(g["v0"].reshape(exponential.v.shape))
    return layer


@each_file
def test_layer_gives_published_arrays(file):
    """The published kernel was divided by a factor in single precision, hence 1e-6."""
    g = load(file)
    layer = published_layer(g)
    x = g["x"]
    for name, mode in (("", "train"), ("_eval", "eval")):
        layer.train(mode == "train")
        z, ladj = layer(x)
        torch.testing.assert_close(z, g[f"z_{mode}"], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(ladj, g[f"ldj{name}"], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(layer.inverse(g["z_eval"]), g["xinv_eval"], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(layer[2].u.flatten(), g["u1"], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(layer[2].v.flatten(), g["v1"], rtol=1e-9, atol=1e-11)


@each_file
def test_kernel_in_use_is_the_published_one(file):
    g = load(file)
    shape = (1, *g["pre_bias"].shape)
    u, v = power_step(g["kernel_raw"], g["u0"].reshape(shape), g["v0"].reshape(shape))
    torch.testing.assert_close((u * F.conv2d(v, g["kernel_raw"], padding=1)).sum(), g["sigma"], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(rescale(g["kernel_raw"], u, v), g["kernel_used"], rtol=1e-7, atol=1e-7)


@each_file
def test_series_gives_published_arrays(file):
    g = load(file)
    mixed = torch.einsum("oc,bchw->bohw", g["W1x1"], g["x"] + g["pre_bias"])
    for mode, terms, kernel in (("train", 6, g["kernel_used"]), ("eval", 13, g["kernel_eval"])):
        z = convolution_exponential(mixed, kernel, terms) + g["post_bias"]
        torch.testing.assert_close(z, g[f"z_{mode}"], rtol=1e-10, atol=1e-10)
    positions = g["x"].shape[2] * g["x"].shape[3]
    trace = g["kernel_eval"][:, :, 1, 1].diagonal().sum() + torch.linalg.slogdet(g["W1x1"]).logabsdet
    torch.testing.assert_close(positions * trace, g["ldj_exact"], rtol=1e-10, atol=1e-10)
    many = convolution_exponential(mixed, g["kernel_eval"], 40) + g["post_bias"]
    torch.testing.assert_close(many, g["z_exact"], rtol=1e-10, atol=1e-10)


def test_many_terms_equal_the_matrix_exponential():
    layer = strong(eval_terms=30).eval()
    x = torch.randn(3, 2, 3, 4, dtype=torch.float64)
    matrix = torch.matrix_exp(dense(layer.rescaled_kernel(), (2, 3, 4)))
    z, ladj = layer(x)
    torch.testing.assert_close(z.flatten(1), x.flatten(1) @ matrix.T, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ladj, torch.linalg.slogdet(matrix).logabsdet.expand(3), rtol=1e-10, atol=1e-10)


MAPS = {
    "series": lambda: strong(),
    "default": lambda: ExponentialConv2d(2, (3, 4)),
    "reflections": lambda: ExponentialConv2d(2, (3, 4), mixing=HouseholderConv1x1(2, 2)),
    "bias map": lambda: BiasMap((2, 3, 4)),
}


@pytest.mark.parametrize("make", MAPS.values(), ids=MAPS.keys())
def test_contract(make):
    check_transform(make().double().eval().transform(event_dim=3), torch.randn(2, 2, 3, 4, dtype=torch.float64))


def test_remainder_bound_holds():
    assert 1.0e-4 < remainder_bound(0.9, 6) < 1.1e-4
    assert remainder_bound(0.9, 13) < 3e-12
    layer = strong(3, (4, 4))
    kernel = layer.rescaled_kernel()
    norm = torch.linalg.matrix_norm(dense(kernel, (3, 4, 4)), 2).item()
    x = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    for terms in (2, 4, 6):
        missing = (convolution_exponential(x, kernel, 40) - convolution_exponential(x, kernel, terms)).flatten(1)
        assert (missing.norm(dim=1) <= remainder_bound(norm, terms) * x.flatten(1).norm(dim=1)).all()


@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 4, 4), (16, 2, 2)])
def test_tightened_norm_is_that_of_the_operator(shape):
    layer = strong(shape[0], shape[1:])
    norm = torch.linalg.matrix_norm(dense(layer.rescaled_kernel(), shape), 2).item()
    assert norm == pytest.approx(0.9, rel=0.01)


def test_gradient_sees_the_norm_for_constant_vectors():
    layer = strong()
    u, v = layer.u, layer.v
    assert torch.autograd.gradcheck(lambda kernel: rescale(kernel, u, v), (layer.kernel,))


def test_gradients_reach_every_parameter():
    layer = ExponentialConv2d(3, 4)
    z, ladj = layer(torch.randn(2, 3, 4, 4))
    (z.square().sum() - ladj.sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in layer.parameters())


def test_power_iteration_moves_once_per_changed_kernel_and_only_in_training():
    layer = strong()
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64)
    layer(x)
    start = layer.u.clone()
    assert torch.equal(layer(x)[0], layer(x)[0])
    assert torch.equal(layer.u, start)
    with torch.no_grad():
        layer.kernel.add_(0.3 * torch.randn_like(layer.kernel))
    layer.eval()(x)
    assert torch.equal(layer.u, start)
    layer.train()(x)
    moved = layer.u.clone()
    assert not torch.equal(moved, start)
    layer(x)
    assert torch.equal(layer.u, moved)
    layer.synchronize()
    assert not torch.equal(layer.u, moved)


def test_a_step_between_forward_and_backward_changes_no_gradient():
    layer = strong()
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64)
    for mode in (True, False):
        layer.train(mode)
        loss = layer(x)[0].sum()
        (expected,) = torch.autograd.grad(loss, layer.kernel, retain_graph=True)
        layer.tighten(3)
        (got,) = torch.autograd.grad(loss, layer.kernel)
        assert torch.equal(got, expected)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_gives_the_same_gradients(reentrant):
    plain, remade = (ExponentialConv2d(2, (3, 4)) for _ in range(2))
    with torch.no_grad():
        for exponential in (plain[2], remade[2]):
            exponential.kernel.mul_(20)
    remade.load_state_dict(plain.state_dict())
    x = torch.randn(2, 2, 3, 4, requires_grad=True)
    for layer, call in ((plain, plain), (remade, lambda x: checkpoint(remade, x, use_reentrant=reentrant))):
        z, ladj = call(x)
        (z.square().sum() - ladj.sum()).backward()
        assert layer[2].kernel.grad is not None
    assert torch.equal(plain[2].kernel.grad, remade[2].kernel.grad)
    assert torch.equal(plain[2].u, remade[2].u)


def test_functional_transforms_leave_the_state_alone():
    layer = strong()
    with torch.no_grad():
        layer.kernel.mul_(1.5).add_(0.1)
    before = copy.deepcopy(layer.state_dict())
    x = torch.randn(3, 2, 3, 4, dtype=torch.float64)
    rows = torch.func.vmap(lambda row: layer(row[None])[0][0])(x)
    parameters = dict(layer.named_parameters())
    torch.func.grad(lambda p: torch.func.functional_call(layer, p, (x,))[1].sum())(parameters)
    copies = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    torch.func.functional_call(layer, copies, (x,))
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())
    assert not torch.equal(copies["u"], before["u"])
    torch.testing.assert_close(rows, layer(x)[0])


def test_compiled_training_equals_eager_training():
    eager = ExponentialConv2d(2, (3, 4))
    other = copy.deepcopy(eager)
    torch.compiler.reset()
    compiled = torch.compile(lambda x: other(x), backend="aot_eager", fullgraph=True)
    for layer, call in ((eager, eager), (other, compiled)):
        torch.manual_seed(1)
        optimizer = torch.optim.SGD(layer.parameters(), 0.01)
        for _ in range(3):
            z, ladj = call(torch.randn(5, 2, 3, 4))
            optimizer.zero_grad()
            (z.square().flatten(1).sum(1) / 2 - ladj).mean().backward()
            optimizer.step()
    torch.testing.assert_close(dict(eager.state_dict()), dict(other.state_dict()))


def test_autocast_keeps_the_precision_of_the_norm():
    plain, cast = strong().float(), strong().float()
    cast.load_state_dict(plain.state_dict())
    with torch.no_grad():
        for layer in (plain, cast):
            layer.kernel.mul_(1.5)
    x = torch.randn(2, 2, 3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        z, ladj = cast(x)
    expected = plain(x)
    assert torch.equal(cast.u, plain.u)
    assert torch.equal(ladj, expected[1])
    torch.testing.assert_close(z.float(), expected[0], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    layer, x = ExponentialConv2d(2, (3, 4)).to(dtype), torch.randn(2, 2, 3, 4, dtype=dtype)
    z, ladj = layer(x)
    assert z.dtype == ladj.dtype == layer.inverse(z).dtype == dtype
    torch.testing.assert_close(layer.inverse(z), x, rtol=0, atol=0.1)


def test_an_empty_batch():
    layer, x = ExponentialConv2d(2, (3, 4)), torch.zeros(0, 2, 3, 4)
    z, ladj = layer(x)
    assert z.shape == layer.inverse(z).shape == x.shape
    assert ladj.shape == (0,)


def test_copies_agree():
    layer, other = ExponentialConv2d(2, (3, 4)).eval(), ExponentialConv2d(2, (3, 4)).eval()
    other.load_state_dict(layer.state_dict())
    x = torch.randn(2, 2, 3, 4)
    for same in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(same(x)[0], layer(x)[0])
        assert torch.equal(same(x)[1], layer(x)[1])


def test_tolerance_stops_the_series():
    layer = strong(eval_terms=50).eval()
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64)
    exact = layer(x)[0]
    layer.tolerance = 1e-3
    assert 1e-8 < (layer(x)[0] - exact).abs().max() < 1e-3
    assert torch.equal(layer(0 * x)[0], 0 * x)


@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 4, 4), (16, 2, 2)])
def test_single_precision_round_trip_after_training(shape):
    layer = ExponentialConv2d(shape[0], shape[1:])
    assert _round_trip(layer, torch.randn(50, *shape)) < 1e-4
    optimizer = torch.optim.Adam(layer.parameters(), 1e-3)
    for _ in range(200):
        z, ladj = layer(torch.randn(10, *shape))
        optimizer.zero_grad()
        (z.square().flatten(1).sum(1) / 2 - ladj).mean().backward()
        optimizer.step()
    assert _round_trip(layer, torch.randn(50, *shape)) < 1e-4
    with torch.no_grad():
        layer[2].kernel.mul_(50)  # the norm constraint is active
    layer.synchronize()
    assert _round_trip(layer, torch.randn(50, *shape)) < 1e-4


def _round_trip(layer, x):
    layer.eval()
    with torch.no_grad():
        error = (layer.inverse(layer(x)[0]) - x).abs().max()
    layer.train()
    return error


def test_a_zero_kernel_is_the_identity_and_can_grow():
    layer = ConvolutionExponential(2, 3)
    with torch.no_grad():
        layer.kernel.zero_()
    x = torch.randn(2, 2, 3, 3)
    assert torch.equal(layer(x)[0], x)
    with torch.no_grad():
        layer.kernel.normal_()
    layer.tighten()
    assert torch.linalg.matrix_norm(dense(layer.rescaled_kernel(), (2, 3, 3)), 2) < 0.95


def test_mixing_by_default_depends_on_the_channels():
    assert isinstance(ExponentialConv2d(64, 1)[1], Conv1x1)
    assert isinstance(ExponentialConv2d(65, 1)[1], HouseholderConv1x1)


ERRORS = {
    "channels": (lambda: ExponentialConv2d(0, 4), "must be positive"),
    "terms": (lambda: ConvolutionExponential(2, 4, terms=0), "must be positive"),
    "norm": (lambda: ConvolutionExponential(2, 4, norm=0.0), "must be positive"),
    "tolerance": (lambda: ConvolutionExponential(2, 4, tolerance=0.0), "tolerance must be positive or None, got 0.0"),
    "input": (lambda: ExponentialConv2d(2, 4)(torch.zeros(1, 2, 5, 4)), r"\(2, 4, 4\), got \(2, 5, 4\)"),
    "inverse": (lambda: ConvolutionExponential(2, 4).inverse(torch.zeros(1, 2, 5, 4)), r"\(2, 4, 4\), got \(2, 5, 4\)"),
    "latent": (lambda: ExponentialConv2d(2, 4).inverse(torch.zeros(1, 2, 4, 1)), r"\(2, 4, 4\), got \(2, 4, 1\)"),
    "shape": (lambda: ExponentialConv2d(2, 4).output_shape((2, 4, 5)), r"\(2, 4, 4\), got \(2, 4, 5\)"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
