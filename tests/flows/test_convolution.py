"""The self-normalizing convolution: its gradients under every loss, its modes, its inverses, its state."""

from __future__ import annotations

import copy
import io
import pickle
from typing import get_args

import pytest
import torch
from golden_flows import load

from logprob.flows.base import SurrogateOptions
from logprob.flows.bases import StandardNormal
from logprob.flows.convolution import ConvLogDet, SelfNormalizingConv2d
from logprob.flows.flow import Flow
from logprob.testing import check_distribution, check_transform

PENALTIES = {"both": "", "inverse": "_onlyR", "symmetric": "_sym", "symmetric-inverse": "_sym_onlyR"}
KEYWORDS = {
    "1x1": {"channels": 3, "kernel_size": 1},
    "1x1, groups": {"channels": 4, "kernel_size": 1, "groups": 2},
    "3x3": {"channels": 2},
    "3x5": {"channels": 2, "kernel_size": (3, 5), "bias": False},
    "5x5": {"channels": 1, "kernel_size": 5},
    "groups": {"channels": 4, "groups": 2},
    "dilation": {"channels": 2, "dilation": (2, 1)},
    "circular": {"channels": 2, "padding_mode": "circular"},
    "circular, groups, dilation": {"channels": 4, "padding_mode": "circular", "groups": 2, "dilation": (1, 2)},
}
IMAGE = (5, 6)


def golden_layer(file, log_det="self-normalizing"):
    layer = SelfNormalizingConv2d(file["W"].shape[0], tuple(file["W"].shape[2:]), log_det=log_det).double()
    with torch.no_grad():
        layer.weight.copy_(file["W"])
        layer.bias.copy_(file["b"])
        if layer.inverse_weight is not None:
            layer.inverse_weight.copy_(file["R"])
    return layer


def noisy_layer(name="3x3", noise=0.3, **more):
    layer = SelfNormalizingConv2d(**KEYWORDS[name], **more).double()
    with torch.no_grad():
        layer.weight += noise * torch.randn_like(layer.weight) / layer.weight[0].numel() ** 0.5
    return layer


def images(layer, batch=3, size=IMAGE):
    return torch.randn(batch, layer.channels, *size, dtype=layer.weight.dtype)


def close(got, expected, rtol=1e-9, atol=1e-11):
    torch.testing.assert_close(got.detach(), expected.detach(), rtol=rtol, atol=atol)


def normal(z):
    return -z.square().flatten(1).sum(1) / 2


def gradients(layer, loss):
    return torch.autograd.grad(loss, list(layer.parameters()), allow_unused=True)


@pytest.mark.parametrize("name", ["conv1x1", "conv3x3", "conv3x5"])
@pytest.mark.parametrize("scale", ["full", "paper"])
def test_gradients_are_the_published_ones(name, scale):
    file = load(name)
    layer, x = golden_layer(file), file["X"].clone().requires_grad_()
    z, ladj, energies = layer.surrogate(x, options=SurrogateOptions(None, scale))
    assert energies == ()
    ((z * file["G"]).sum() - ladj.mean()).backward()
    factor = 2 if scale == "full" else 1
    close(z, file["z"])
    close(layer.weight.grad, factor * file["gW"])
    close(layer.inverse_weight.grad, factor * file["gR"])
    close(layer.bias.grad, file["gb"])
    close(x.grad, file["gX"])


@pytest.mark.parametrize("name", ["conv1x1", "conv3x3", "conv3x5"])
def test_the_exact_mode_and_the_forward_are_the_stored_ones(name):
    file = load(name)
    layer = golden_layer(file, "exact")
    z, ladj, _ = layer.surrogate(file["X"])
    ((z * file["G"]).sum() - ladj.mean()).backward()
    close(ladj, file["logdet"].expand(len(z)), atol=1e-9)
    if "gW_exact" in file:
        close(layer.weight.grad, file["gW_exact"], atol=1e-9)
    if "dlogdet_dW" in file:
        only = golden_layer(file, "exact")
        only(file["X"])[1].mean().backward()
        close(only.weight.grad, file["dlogdet_dW"], atol=1e-9)
    close(layer.inverse(file["z"]), file["x_true"], atol=1e-9)
    if "x_approx" in file:
        close(golden_layer(file).inverse(file["z"], method="approximate"), file["x_approx"])


@pytest.mark.parametrize("name", ["conv1x1", "conv3x3"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_energies_are_the_published_ones(name, penalty):
    file, suffix = load(name), PENALTIES[penalty]
    layer, x = golden_layer(file), file["X"].clone().requires_grad_()
    energy = layer.surrogate(x, options=SurrogateOptions(penalty)).energies[0]
    energy.value.backward()
    close(energy.value, file[f"E_rec{suffix}"])
    assert energy.dimensions == file["X"][0].numel()
    expected = torch.zeros_like(layer.weight) if penalty == "inverse" else file[f"gW_rec{suffix}"]
    close(torch.zeros_like(expected) if layer.weight.grad is None else layer.weight.grad, expected)
    close(layer.inverse_weight.grad, file[f"gR_rec{suffix}"])
    assert x.grad is None


@pytest.mark.parametrize("penalty", PENALTIES)
def test_one_backward_pass_adds_data_log_determinant_and_energy(penalty):
    file, suffix = load("conv3x3"), PENALTIES[penalty]
    layer, x = golden_layer(file), file["X"].clone().requires_grad_()
    z, ladj, energies = layer.surrogate(x, options=SurrogateOptions(penalty, "paper"))
    ((z * file["G"]).sum() - ladj.mean() + 3 * energies[0].value).backward()
    close(layer.weight.grad, file["gW"] + 3 * file[f"gW_rec{suffix}"])
    close(layer.inverse_weight.grad, file["gR"] + 3 * file[f"gR_rec{suffix}"])
    close(x.grad, file["gX"])


LOSSES = {
    "mean": lambda log_prob: -log_prob.mean(),
    "sum": lambda log_prob: -log_prob.sum(),
    "weighted": lambda log_prob: -(log_prob * torch.linspace(-1, 2, len(log_prob))).sum(),
    "log-sum-exp": lambda log_prob: -log_prob.logsumexp(0),
    "scaled": lambda log_prob: -1024 * log_prob.mean(),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("name", "size"), [("1x1", IMAGE), ("1x1, groups", IMAGE), ("circular", (3, 3))])
def test_where_the_inverse_is_a_kernel_any_loss_has_its_exact_gradient(name, size, loss):
    layer = noisy_layer(name, image_size=size)
    layer.synchronize()
    x = images(layer, 4, size)
    z, ladj, _ = layer.surrogate(x)
    exact_z, exact_ladj = layer(x)
    got = torch.autograd.grad(LOSSES[loss](normal(z) + ladj), [layer.weight, layer.bias])
    expected = torch.autograd.grad(LOSSES[loss](normal(exact_z) + exact_ladj), [layer.weight, layer.bias])
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", KEYWORDS)
def test_near_the_identity_the_gradient_is_nearly_exact(name):
    layer = noisy_layer(name, image_size=IMAGE)
    layer.synchronize()
    x = images(layer)
    got, expected = (
        torch.autograd.grad(ladj.sum(), layer.weight)[0] for ladj in (layer.surrogate(x).ladj, layer(x)[1])
    )
    assert torch.cosine_similarity(got.flatten(), expected.flatten(), dim=0) > 0.99
    energy = layer.surrogate(x).energies[0]
    assert energy.value / energy.dimensions < 0.02


@pytest.mark.parametrize("penalty", [None, *PENALTIES])
@pytest.mark.parametrize("name", ["1x1", "3x3", "groups", "dilation", "circular"])
def test_an_unused_output_or_a_frozen_tensor_leaves_the_other_gradients_alone(name, penalty):
    layer = noisy_layer(name)
    x, options = images(layer).requires_grad_(), SurrogateOptions(penalty)

    def parts():
        z, ladj, energies = layer.surrogate(x, options=options)
        return [normal(z).mean(), ladj.mean(), *(energy.value for energy in energies)]

    tensors = [x, *layer.parameters()]
    total = torch.autograd.grad(sum(parts()), tensors)
    singles = [torch.autograd.grad(parts()[i], tensors, materialize_grads=True) for i in range(len(parts()))]
    for whole, *pieces in zip(total, *singles, strict=True):
        close(whole, sum(pieces))
    layer.inverse_weight.requires_grad_(False)
    close(torch.autograd.grad(sum(parts()), layer.weight)[0], total[1])
    layer.weight.requires_grad_(False)
    close(torch.autograd.grad(normal(layer.surrogate(x).z).mean(), x)[0], total[0])


def test_a_second_derivative_is_refused():
    layer = noisy_layer()
    x = images(layer).requires_grad_()
    (gradient,) = torch.autograd.grad(layer.surrogate(x).z.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("name", ["1x1", "3x3"])
@pytest.mark.parametrize("log_det", ["self-normalizing", "resync"])
def test_autocast_runs_the_products_in_its_own_type(name, log_det):
    layer = noisy_layer(name, log_det=log_det).float()
    x = images(layer)
    expected = gradients(layer, sum_of(layer.surrogate(x, options=SurrogateOptions("both"))))
    with torch.autocast("cpu", torch.bfloat16):
        output = layer.surrogate(x, options=SurrogateOptions("both"))
    assert output.z.dtype == torch.bfloat16
    for got, wanted in zip(gradients(layer, sum_of(output)), expected, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, wanted, rtol=0.05, atol=0.05 * wanted.abs().max().item())


def sum_of(output):
    return sum((energy.value for energy in output.energies), -(normal(output.z.float()) + output.ladj).mean())


def test_relative_is_the_exact_gradient_from_the_other_side():
    layer = noisy_layer("1x1", log_det="relative")
    x, weight = images(layer), layer.weight[:, :, 0, 0].detach()
    output = layer.surrogate(x, options=SurrogateOptions(None, "full", "exact"))
    z, ladj = layer(x)
    close(output.ladj, ladj)
    (got,) = torch.autograd.grad((normal(output.z) + output.ladj).sum(), layer.weight)
    (exact,) = torch.autograd.grad((normal(z) + ladj).sum(), layer.weight)
    close(got[:, :, 0, 0], exact[:, :, 0, 0] @ weight.T @ weight)


@pytest.mark.parametrize("name", ["3x3", "groups", "dilation", "circular"])
def test_probes_are_unbiased(name):
    layer = noisy_layer(name, log_det="probe", probes=4000)
    x = images(layer, 1)
    (got,) = torch.autograd.grad(layer.surrogate(x).ladj.sum(), layer.weight)
    (exact,) = torch.autograd.grad(layer(x)[1].sum(), layer.weight)
    # An entry sums about 30 products of signs: a standard error of 30**0.5 / 4000**0.5 = 0.09.
    torch.testing.assert_close(got, exact, rtol=0, atol=0.45)
    assert layer.surrogate(x).ladj.item() == 0


def test_constant_has_the_gradient_of_the_data_alone():
    layer = noisy_layer(log_det="constant")
    output = layer.surrogate(images(layer), options=SurrogateOptions(None, "full", "exact"))
    assert not output.ladj.requires_grad
    close(output.ladj, layer(images(layer))[1])


@pytest.mark.parametrize("log_det", get_args(ConvLogDet))
def test_every_mode_has_the_exact_output_and_reaches_its_parameters(log_det):
    layer = noisy_layer("1x1", log_det=log_det)
    x = images(layer)
    z, ladj, energies = layer.surrogate(x)
    close(z, layer(x)[0])
    assert ladj.shape == (3,)
    assert len(energies) == (log_det == "self-normalizing")
    for gradient in gradients(layer, (normal(z) + ladj).sum()):
        assert gradient is not None
        assert gradient.abs().max() > 0


def test_the_value_is_zero_cached_or_exact():
    layer = noisy_layer()
    x = images(layer)
    exact = layer(x)[1]
    layer.synchronize()
    with torch.no_grad():
        layer.weight.mul_(1.5)
    values = {
        value: layer.surrogate(x, options=SurrogateOptions(value=value)).ladj for value in ("zero", "cached", "exact")
    }
    close(values["zero"], torch.zeros_like(exact))
    close(values["cached"], exact)
    close(values["exact"], layer(x)[1])


@pytest.mark.parametrize("name", KEYWORDS)
def test_the_layer_is_a_transform(name):
    layer = noisy_layer(name)
    check_transform(layer.transform(), images(layer, 2))


@pytest.mark.parametrize("name", ["1x1", "3x3", "circular"])
def test_a_flow_of_convolutions_keeps_the_contract_of_distributions(name):
    keywords = KEYWORDS[name]
    shape = (keywords["channels"], 3, 4)
    check_distribution(
        lambda: Flow(
            [SelfNormalizingConv2d(**keywords, log_det="exact") for _ in range(2)], shape, StandardNormal(shape)
        ),
        torch.randn(5, *shape),
    )


@pytest.mark.parametrize("name", KEYWORDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverses(name, dtype):
    layer = noisy_layer(name, image_size=IMAGE).to(dtype)
    layer.synchronize()
    x = images(layer)
    z = layer(x)[0]
    tolerance = 1e-5 if dtype == torch.float32 else 1e-11
    for method in ("exact", "refine"):
        torch.testing.assert_close(layer.inverse(z, method=method), x, rtol=tolerance, atol=tolerance)
    error = (layer.inverse(z, method="approximate") - x).abs().mean()
    assert error < (tolerance if name in ("1x1", "1x1, groups") else 0.1)


def test_refinement_that_does_not_contract_is_solved():
    layer = noisy_layer()
    with torch.no_grad():
        layer.inverse_weight.mul_(-1)
    x = images(layer)
    close(layer.inverse(layer(x)[0], method="refine"), x)


def test_the_inverse_is_differentiable():
    layer = noisy_layer()
    z = images(layer, 1, (3, 4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z, weight, bias: layer.inverse(z), (z, layer.weight, layer.bias))


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_modes_can_be_changed(kernel_size):
    layer = SelfNormalizingConv2d(2, kernel_size, image_size=IMAGE)
    first = layer.inverse_weight.detach().clone()
    layer.log_det = "resync"
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert "inverse_weight" in layer.state_dict()
    layer.log_det = "exact"
    assert layer.inverse_weight is None
    with pytest.raises(ValueError, match="exact"):
        layer.inverse(torch.randn(1, 2, *IMAGE), method="approximate")
    layer.log_det = "self-normalizing"
    assert isinstance(layer.inverse_weight, torch.nn.Parameter)
    close(layer.inverse_weight, first)


def test_the_image_size_is_remembered_and_saved():
    layer = SelfNormalizingConv2d(2)
    with pytest.raises(ValueError, match="image size"):
        layer.synchronize()
    fresh = SelfNormalizingConv2d(2)
    fresh.load_state_dict(layer.state_dict())
    assert fresh.image_size is None
    layer.surrogate(torch.randn(1, 2, *IMAGE))
    layer(torch.randn(1, 2, 9, 9))
    assert layer.image_size == IMAGE
    layer.synchronize()
    fresh.load_state_dict(layer.state_dict())
    assert fresh.image_size == IMAGE
    assert fresh.cached_log_det == layer.cached_log_det != 0


def test_a_pointwise_inverse_needs_no_image_size():
    layer = noisy_layer("1x1")
    layer.synchronize()
    close(layer.inverse_weight[:, :, 0, 0], torch.linalg.inv(layer.weight[:, :, 0, 0]))


@pytest.mark.parametrize("change", ["edit", "load", "step"])
def test_nothing_is_stale_after_a_change_of_the_weight(change):
    layer, other = noisy_layer().eval(), noisy_layer()
    x = images(layer)
    before = layer(x)[1]
    if change == "edit":
        layer.weight.data.mul_(2)
    elif change == "load":
        layer.load_state_dict(other.state_dict())
    else:
        torch.optim.SGD([layer.weight], 0.1).step(lambda: layer(x)[0].square().sum().backward())
    after = layer(x)[1]
    assert (after - before).abs().min() > 1e-3
    close(after, copy.deepcopy(layer)(x)[1])


@pytest.mark.parametrize("log_det", ["self-normalizing", "resync", "exact"])
def test_copies_are_the_same_layer(log_det):
    layer = noisy_layer(log_det=log_det)
    x = images(layer)
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    loaded = SelfNormalizingConv2d(**KEYWORDS["3x3"], log_det=log_det).double()
    loaded.load_state_dict(torch.load(buffer, weights_only=True))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded):
        assert torch.equal(other(x)[1], layer(x)[1])
        assert torch.equal(other(x)[0], layer(x)[0])
        assert other.log_det == log_det


def test_both_passes_compile_and_see_the_image_size():
    expected, layer = noisy_layer(), noisy_layer()
    layer.load_state_dict(expected.state_dict())
    x = images(layer)

    def loss(module, x):
        return normal(module(x)[0]).sum() + module(x)[1].sum() + sum_of(module.surrogate(x))

    torch.compiler.reset()
    compiled = torch.compile(lambda x: loss(layer, x), backend="aot_eager", fullgraph=True)
    got, wanted = compiled(x), loss(expected, x)
    close(got, wanted)
    assert layer.image_size == IMAGE
    for left, right in zip(gradients(layer, got), gradients(expected, wanted), strict=True):
        close(left, right)


def test_per_example_gradients_by_function_transforms():
    layer = noisy_layer()
    x, state = images(layer), dict(layer.named_parameters())

    def log_prob(state, row):
        z, ladj = torch.func.functional_call(layer, state, (row[None],))
        return (normal(z) + ladj).squeeze(0)

    rows = torch.func.vmap(torch.func.grad(log_prob), (None, 0))(state, x)
    z, ladj = layer(x)
    close(rows["weight"].sum(0), torch.autograd.grad((normal(z) + ladj).sum(), layer.weight)[0])


STARTS = ("identity-noise", "orthogonal", "identity", "flip")


@pytest.mark.parametrize("init", STARTS)
@pytest.mark.parametrize("name", ["1x1", "3x3", "groups", "3x5"])
def test_every_start_is_near_an_orthogonal_map(name, init):
    layer = SelfNormalizingConv2d(**KEYWORDS[name], init=init)
    x = images(layer)
    assert layer(x)[1].abs().max() < 1
    energy = layer.surrogate(x).energies[0]
    assert energy.value / energy.dimensions < 0.02
    flipped = layer.geometry.flip(layer.weight.detach())
    assert torch.equal(layer.inverse_weight, flipped) == (init in ("flip", "identity"))


ERRORS = {
    "even kernel": ({"kernel_size": 2}, "odd"),
    "even width": ({"kernel_size": (3, 4)}, "odd"),
    "groups": ({"groups": 3}, "groups must divide"),
    "dilation": ({"dilation": 0}, "dilation"),
    "stride": ({"stride": 2}, "stride must be 1"),
    "padding too small": ({"padding": 0}, "keeps its size"),
    "padding of the dilated kernel": ({"padding": 1, "dilation": 2}, "keeps its size"),
    "mode": ({"log_det": "resink"}, "log_det must be one of"),
    "relative": ({"log_det": "relative"}, "1x1"),
    "padding": ({"padding_mode": "reflect"}, "zeros or circular"),
    "start": ({"init": "zeros"}, "init must be"),
    "probes": ({"probes": 0}, "probes"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_bad_arguments_are_refused(name):
    keywords, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        SelfNormalizingConv2d(2, **keywords)


def test_the_padding_may_be_given_as_a_number():
    assert SelfNormalizingConv2d(2, (3, 5), padding=(1, 2)).geometry == SelfNormalizingConv2d(2, (3, 5)).geometry


def test_bad_images_are_refused():
    layer = SelfNormalizingConv2d(2, padding_mode="circular")
    for shape in ((3, 2, 4), (1, 3, 4, 4)):
        with pytest.raises(ValueError, match="expected images"):
            layer(torch.zeros(shape))
    with pytest.raises(ValueError, match="at least"):
        layer(torch.zeros(1, 2, 2, 4))
    with pytest.raises(ValueError, match="expected images"):
        layer.output_shape((3, 4, 4))
    with pytest.raises(ValueError, match="log_det must be one of"):
        layer.log_det = "none"
