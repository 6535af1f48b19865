"""The self-normalizing linear layer: its gradients, at every way of forming and scaling a loss, and its inverses."""

from __future__ import annotations

import copy

import pytest
import torch
from golden_flows import load

from logprob.flows import SelfNormalizingLinear, SurrogateOptions
from logprob.testing import check_transform

MODES = ("self-normalizing", "resync", "exact", "relative", "constant")
PENALTIES = {"both": "", "inverse": "_onlyR", "symmetric": "_sym", "symmetric-inverse": "_sym_onlyR"}


def golden_layer(file, log_det="self-normalizing"):
    layer = SelfNormalizingLinear(len(file["W"]), log_det=log_det).double()
    with torch.no_grad():
        layer.weight.copy_(file["W"])
        layer.bias.copy_(file["b"])
        if layer.inverse_weight is not None:
            layer.inverse_weight.copy_(file["R"])
    return layer


def close(got, expected, rtol=1e-9, atol=1e-11):
    torch.testing.assert_close(got.detach(), expected, rtol=rtol, atol=atol)


def layer_near_inverse(features=6, noise=0.0, log_det="self-normalizing"):
    layer = SelfNormalizingLinear(features, log_det=log_det, init="identity-noise").double()
    with torch.no_grad():
        layer.weight += 0.3 * torch.randn(features, features)
    layer.synchronize()
    if noise:
        with torch.no_grad():
            layer.inverse_weight += noise * torch.randn(features, features)
    return layer


def normal_log_prob(z):
    return -(z**2).sum(1) / 2


@pytest.mark.parametrize("name", ["fc", "fc_Rinv"])
@pytest.mark.parametrize("scale", ["full", "paper"])
def test_gradients_are_the_published_ones(name, scale):
    file = load(name)
    layer = golden_layer(file)
    x = file["X"].clone().requires_grad_()
    z, ladj, energies = layer.surrogate(x, options=SurrogateOptions(None, scale))
    close(z, file["z"])
    assert energies == ()
    ((z * file["G"]).sum() - ladj.mean()).backward()
    factor = 2 if scale == "full" else 1
    close(layer.weight.grad, factor * file["gW"])
    close(layer.inverse_weight.grad, factor * file["gR"])
    close(layer.bias.grad, file["gb"])
    close(x.grad, file["gX"])
    if name == "fc_Rinv" and scale == "full":
        close(layer.weight.grad, file["gW_exact"], atol=1e-11)


@pytest.mark.parametrize("name", ["fc", "fc_Rinv"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_energies_are_the_published_ones(name, penalty):
    file, end = load(name), PENALTIES[penalty]
    layer = golden_layer(file)
    _, _, (energy,) = layer.surrogate(file["X"], options=SurrogateOptions(penalty))
    assert energy.dimensions == len(file["W"])
    energy.value.backward()
    close(energy.value, file[f"E_rec{end}"], atol=1e-10)
    gradient = layer.weight.grad
    close(torch.zeros_like(layer.weight) if gradient is None else gradient, file[f"gW_rec{end}"], atol=1e-10)
    close(layer.inverse_weight.grad, file[f"gR_rec{end}"], atol=1e-10)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_one_backward_pass_adds_both_parts(penalty):
    file, end = load("fc"), PENALTIES[penalty]
    layer = golden_layer(file)
    z, ladj, (energy,) = layer.surrogate(file["X"], options=SurrogateOptions(penalty, "paper"))
    ((z * file["G"]).sum() - ladj.mean() + 3 * energy.value).backward()
    close(layer.weight.grad, file["gW"] + 3 * file[f"gW_rec{end}"])
    close(layer.inverse_weight.grad, file["gR"] + 3 * file[f"gR_rec{end}"])


def test_the_relative_gradient_is_the_published_one():
    file = load("fc")
    layer = golden_layer(file, "relative")
    x = file["X"].clone().requires_grad_()
    z, ladj, energies = layer.surrogate(x)
    ((z * file["G"]).sum() - ladj.mean()).backward()
    close(layer.weight.grad, file["gW_relative"])
    close(x.grad, file["gX"])
    close(layer.bias.grad, file["gb"])
    assert energies == ()


def test_the_exact_mode_and_the_inverses_are_the_published_ones():
    file = load("fc")
    layer = golden_layer(file, "exact")
    z, ladj, _ = layer.surrogate(file["X"])
    ((z * file["G"]).sum() - ladj.mean()).backward()
    close(layer.weight.grad, file["gW_exact"])
    close(ladj, file["logdet"].expand(6))
    learned = golden_layer(file)
    close(learned.inverse(file["z"]), file["x_true"])
    close(learned.inverse(file["z"], method="approximate"), file["x_approx"])


LOSSES = {
    "mean": lambda log_prob, weights: -log_prob.mean(),
    "sum": lambda log_prob, weights: -log_prob.sum(),
    "weighted": lambda log_prob, weights: -(weights * log_prob).sum(),
    "scaled for half precision": lambda log_prob, weights: -log_prob.mean() * 2.0**16,
    "log-sum-exp": lambda log_prob, weights: -torch.logsumexp(log_prob, 0),
    "beside another term": lambda log_prob, weights: (
        -log_prob.mean() + 7.0 * (log_prob - log_prob.mean()).square().sum()
    ),
}


@pytest.mark.parametrize("log_det", ["self-normalizing", "resync"])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_at_the_true_inverse_the_gradient_is_exact_however_the_loss_is_formed(loss, log_det):
    layer = layer_near_inverse(log_det=log_det)
    exact = copy.deepcopy(layer)
    x, weights = torch.randn(9, 6, dtype=torch.float64), torch.rand(9, dtype=torch.float64)
    z, ladj, _ = layer.surrogate(x)
    loss(normal_log_prob(z) + ladj, weights).backward()
    z, ladj = exact(x)
    loss(normal_log_prob(z) + ladj, weights).backward()
    close(layer.weight.grad, exact.weight.grad)
    close(layer.bias.grad, exact.bias.grad)


def test_accumulated_gradients_add_up():
    layer = layer_near_inverse()
    once = copy.deepcopy(layer)
    x = torch.randn(8, 6, dtype=torch.float64)
    for part in x.split(4):
        z, ladj, (energy,) = layer.surrogate(part)
        ((-(normal_log_prob(z) + ladj).mean() + energy.value) / 2).backward()
    z, ladj, (energy,) = once.surrogate(x)
    (-(normal_log_prob(z) + ladj).mean() + energy.value).backward()
    for mine, other in zip(layer.parameters(), once.parameters(), strict=True):
        close(mine.grad, other.grad)


@pytest.mark.parametrize("value", ["exact", "cached"])
def test_losses_that_use_the_value_of_the_density_are_right_with_an_exact_value(value):
    layer = layer_near_inverse()
    exact = copy.deepcopy(layer)
    x = torch.randn(9, 6, dtype=torch.float64)
    z, ladj, _ = layer.surrogate(x, options=SurrogateOptions(value=value))
    (normal_log_prob(z) + ladj).square().mean().backward()
    z, true = exact(x)
    (normal_log_prob(z) + true).square().mean().backward()
    close(ladj, true.detach())
    close(layer.weight.grad, exact.weight.grad)


def test_the_surrogate_does_not_pretend_to_be_normalised():
    layer = layer_near_inverse()
    _, ladj, _ = layer.surrogate(torch.randn(3, 6, dtype=torch.float64))
    assert ladj.tolist() == [0.0] * 3


def test_constant_mode_leaves_the_log_determinant_out():
    layer = layer_near_inverse(log_det="constant")
    z, ladj, energies = layer.surrogate(torch.randn(3, 6, dtype=torch.float64))
    assert not ladj.requires_grad
    assert z.requires_grad
    assert energies == ()


@pytest.mark.parametrize("penalty", [None, *PENALTIES])
def test_half_precision_products_keep_full_precision_gradients(penalty):
    layer = layer_near_inverse(noise=0.1).float()
    full = copy.deepcopy(layer)
    x = torch.randn(16, 6)
    options = SurrogateOptions(penalty)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z, ladj, energies = layer.surrogate(x, options=options)
        loss = -(normal_log_prob(z.float()) + ladj).mean() + sum(e.value for e in energies)
    loss.backward()
    z, ladj, energies = full.surrogate(x, options=options)
    (-(normal_log_prob(z) + ladj).mean() + sum(e.value for e in energies)).backward()
    for mine, other in zip(layer.parameters(), full.parameters(), strict=True):
        assert mine.grad.dtype == torch.float32
        torch.testing.assert_close(mine.grad, other.grad, rtol=0.05, atol=0.05)


def test_only_what_the_loss_uses_gets_a_gradient():
    layer = layer_near_inverse()
    x = torch.randn(3, 6, dtype=torch.float64)
    layer.surrogate(x).z.sum().backward()  # neither log-determinant nor energy
    assert layer.weight.grad is not None
    layer.zero_grad()
    layer.surrogate(x).ladj.sum().backward()
    close(layer.weight.grad, 3 * layer.inverse_weight.detach().T)


def test_a_second_derivative_is_refused():
    layer = layer_near_inverse()
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    z, ladj, _ = layer.surrogate(x)
    (gradient,) = torch.autograd.grad(normal_log_prob(z).sum() + ladj.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_the_surrogate_compiles_and_survives_checkpointing():
    layer = layer_near_inverse(noise=0.1)
    twins = [copy.deepcopy(layer) for _ in range(2)]
    x = torch.randn(5, 6, dtype=torch.float64)

    def loss(module, rows):
        z, ladj, (energy,) = module.surrogate(rows)
        return -(normal_log_prob(z) + ladj).mean() + energy.value

    loss(layer, x).backward()
    torch.compile(loss, backend="aot_eager", fullgraph=True)(twins[0], x).backward()
    torch.utils.checkpoint.checkpoint(loss, twins[1], x, use_reentrant=False).backward()
    for twin in twins:
        for mine, other in zip(twin.parameters(), layer.parameters(), strict=True):
            close(mine.grad, other.grad)


@pytest.mark.parametrize("method", ["exact", "refine"])
def test_the_inverse_inverts(method):
    layer = layer_near_inverse(noise=0.02)
    x = torch.randn(5, 6, dtype=torch.float64)
    close(layer.inverse(layer(x)[0], method=method), x, atol=1e-9)


def test_refinement_falls_back_where_the_learned_inverse_is_bad():
    layer = layer_near_inverse(noise=30.0)
    x = torch.randn(5, 6, dtype=torch.float64)
    close(layer.inverse(layer(x)[0], method="refine"), x, atol=1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_the_same_transform(mode):
    layer = layer_near_inverse(log_det=mode)
    check_transform(layer.transform(), torch.randn(4, 6, dtype=torch.float64))


def test_modes_can_be_changed_and_share_their_state():
    layer = layer_near_inverse()
    weight = layer.weight.detach().clone()
    names = {name for name, _ in layer.named_parameters()}
    assert names == {"weight", "bias", "inverse_weight"}
    layer.log_det = "resync"
    assert {name for name, _ in layer.named_parameters()} == {"weight", "bias"}
    assert "inverse_weight" in layer.state_dict()
    layer.log_det = "exact"
    assert layer.inverse_weight is None
    with pytest.raises(ValueError, match="keeps no inverse weight"):
        layer.inverse(torch.zeros(1, 6, dtype=torch.float64), method="approximate")
    layer.log_det = "self-normalizing"
    close(layer.inverse_weight @ weight, torch.eye(6, dtype=torch.float64), atol=1e-12)
    assert isinstance(layer.inverse_weight, torch.nn.Parameter)


@pytest.mark.parametrize("init", ["identity", "orthogonal", "identity-noise"])
@pytest.mark.parametrize("features", [1, 7])
def test_it_starts_with_a_true_inverse(init, features):
    layer = SelfNormalizingLinear(features, init=init)
    torch.testing.assert_close(layer.inverse_weight @ layer.weight, torch.eye(features))
    assert torch.isfinite(layer.bias).all()


def test_a_change_of_the_weight_changes_the_log_determinant():
    layer = layer_near_inverse().eval()
    x = torch.zeros(1, 6, dtype=torch.float64)
    before = layer(x)[1]
    layer.weight.data.mul_(2)  # which no version counter sees
    torch.testing.assert_close(layer(x)[1], before + 6 * torch.log(torch.tensor(2.0, dtype=torch.float64)))
    other = layer_near_inverse().eval()
    layer.load_state_dict(other.state_dict())
    assert torch.equal(layer(x)[1], other(x)[1])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SelfNormalizingLinear(3, log_det="exakt"), "exakt"),
        (lambda: SelfNormalizingLinear(0), "features"),
        (lambda: SelfNormalizingLinear(3, init="zeros"), "zeros"),
        (lambda: SelfNormalizingLinear(3)(torch.zeros(2, 4)), r"\(B, 3\)"),
        (lambda: SelfNormalizingLinear(3)(torch.zeros(3)), r"\(B, 3\)"),
    ],
)
def test_mistakes_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_nothing_is_kept_from_step_to_step():
    layer = layer_near_inverse()
    x = torch.randn(5, 6, dtype=torch.float64)
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    for _ in range(3):
        layer.surrogate(x)
    assert all(torch.equal(value, state[name]) for name, value in layer.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_layer_of_half_precision_is_exact_to_its_digits(dtype):
    layer = layer_near_inverse().to(dtype)
    x = torch.randn(5, 6, dtype=dtype)
    z, ladj = layer(x)
    assert z.dtype == ladj.dtype == dtype
    layer.synchronize()
    torch.testing.assert_close(layer.inverse(z), x, rtol=0.05, atol=0.05)
    torch.testing.assert_close(ladj[0].double(), torch.linalg.slogdet(layer.weight.double())[1], rtol=0.02, atol=0.02)
