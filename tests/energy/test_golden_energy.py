"""Energies and denoising score matching against the reference files."""

from __future__ import annotations

import pytest
import torch
from golden_icebeem import load
from torch import nn

from logprob.distributions.score_matching import denoising_factor, denoising_losses, zero_energy_loss
from logprob.energy import ConditionalEnergy, UnconditionalEnergy

HEADS = {"plain": {}, "tied": {"squares": "tied"}, "positive": {"positive": True}}
CLOSE = {"rtol": 1e-9, "atol": 1e-300}


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
