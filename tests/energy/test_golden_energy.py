"""Energies and denoising score matching against the reference files."""

from __future__ import annotations

import pytest
import torch
from golden_icebeem import load
from torch import nn

from logprob.distributions.score_matching import denoising_factor, denoising_losses, zero_energy_loss
from logprob.energy import ConditionalEnergy, ScoreNetwork, UnconditionalEnergy
from logprob.nn import BatchNormMLP

HEADS = {"plain": {}, "tied": {"squares": "tied"}, "positive": {"positive": True}}
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
NAMES = [("weight", "w"), ("bias", "b")]
NORMS = [("weight", "gamma"), ("bias", "beta"), ("running_mean", "mean"), ("running_var", "var")]


def mlp(golden):
    layers = [nn.Flatten(1)]
    for index in range(3):
        weight = golden[f"f_w{index}"]
        layer = nn.Linear(weight.shape[1], weight.shape[0]).double()
        layer.load_state_dict({"weight": weight, "bias": golden[f"f_b{index}"]})
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class Flat(nn.Module):
    """The reference network of flattened images."""

    def __init__(self, golden):
        super().__init__()
        self.network = mlp(golden)

    def forward(self, x):
        return self.network(x)


class Shrink(nn.Module):
    def forward(self, z):
        return -z / 1.7


def conditional(golden, head):
    features, conditions = golden["g"].shape
    model = ConditionalEnergy(Flat(golden), conditions, features, sign=-1, **HEADS[head]).double()
    with torch.no_grad():
        model.labels.copy_(golden["g"].T)
    return model


def meta(name):
    golden = load(name)
    sigma = {"dsm_vector": 0.3, "dsm_image": 0.01}[name]
    return golden, sigma, golden["x"].shape[1:]


@pytest.mark.parametrize("name", ["dsm_vector", "dsm_image"])
@pytest.mark.parametrize("head", HEADS)
def test_conditional_energies_are_those_of_the_reference(name, head):
    golden, sigma, event = meta(name)
    model, x, v = conditional(golden, head), golden["x"].flatten(1), golden["v"].flatten(1)
    distribution = model(golden["y"])
    torch.testing.assert_close(-distribution.unnormalized_log_prob(x), golden[f"{head}_energy_clean"], **CLOSE)
    torch.testing.assert_close(distribution.score(x + v), golden[f"{head}_score"].flatten(1), **CLOSE)
    losses = denoising_losses(distribution, x, v, sigma)
    torch.testing.assert_close(losses.mean(), golden[f"{head}_loss_sample"], **CLOSE)
    paper = losses.mean() * denoising_factor("paper", 4, sigma, event)
    torch.testing.assert_close(paper, golden[f"{head}_loss_paper"], **CLOSE)
    paper.backward()
    torch.testing.assert_close(model.network.network[1].weight.grad, golden[f"{head}_grad_f_w0"], **CLOSE)
    torch.testing.assert_close(model.labels.grad, golden[f"{head}_grad_g"].T, **CLOSE)


@pytest.mark.parametrize("name", ["dsm_vector", "dsm_image"])
def test_unconditional_zero_and_score_networks(name):
    golden, sigma, event = meta(name)
    x, v = golden["x"].flatten(1), golden["v"].flatten(1)
    factor = denoising_factor("paper", 4, sigma, event)
    losses = denoising_losses(UnconditionalEnergy(Flat(golden), sign=-1)(), x, v, sigma)
    torch.testing.assert_close(factor * losses.mean(), golden["uncond_loss_paper"], **CLOSE)
    torch.testing.assert_close(factor * v.square().sum(-1).mean() / 2, golden["zero_loss_paper"], **CLOSE)
    assert zero_energy_loss(event, sigma) == pytest.approx(event[-1] * sigma**2 / 2)


@pytest.mark.parametrize("name", ["dsm_vector", "dsm_image"])
def test_score_networks(name):
    golden, sigma, _ = meta(name)
    x, v = golden["x"].flatten(1), golden["v"].flatten(1)
    losses = denoising_losses(ScoreNetwork(Shrink())(), x, v, sigma)
    torch.testing.assert_close(losses.mean() / sigma**4, golden["scorenet_loss"], **CLOSE)


def simulation_model(golden, squares=None):
    network = BatchNormMLP(5)
    parts = {"0": "first", "2": "hid0", "5": "hid1", "7": "last"}
    state = {f"{at}.{kind}": golden[f"{name}_{short}"] for at, name in parts.items() for kind, short in NAMES}
    for at, name in {"1": "hid0", "4": "hid1"}.items():
        state |= {f"{at}.{kind}": golden[f"{name}_bn_{short}"] for kind, short in NORMS}
    network.load_state_dict(state)
    model = ConditionalEnergy(network, 20, 5, squares=squares, log_norm="shared").double().eval()
    with torch.no_grad():
        network.load_state_dict(state)  # in float64
        model.labels.copy_(golden["W"].T)
        model.offset.copy_(golden["c"])
    return model


@pytest.mark.parametrize("squares", [None, "tied"])
def test_energies_of_the_simulations(squares):
    golden = load("energy")
    model, x, y = simulation_model(golden, squares), golden["x"], golden["y"]
    u = golden["u_tied" if squares else "u_plain"]
    torch.testing.assert_close(model.features(x), golden["f"], **CLOSE)
    torch.testing.assert_close(model(y).unnormalized_log_prob(x), u, **CLOSE)
    potentials = model.log_potentials(x)
    torch.testing.assert_close(potentials.gather(1, y[:, None])[:, 0], u, **CLOSE)
    if squares:
        torch.testing.assert_close(potentials, golden["u_all_labels"], **CLOSE)
