"""Reference values and gradients of every circuit that the core can express."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_circuits import FOLDER, circuit_of, groups_of, load, tensor

from logprob.circuits import Categorical, Circuit, linear_tree
from logprob.circuits.spline_basis import spline_basis

CIRCUITS = sorted(
    path.stem for path in FOLDER.glob("*.npz") if path.stem.startswith(("sq_", "mono_")) and "hmm" not in path.stem
)


@pytest.mark.parametrize("name", CIRCUITS)
def test_values(name):
    file = load(name)
    model, _ = circuit_of(file)
    p = model()
    x = tensor(file["x"]).double()
    torch.testing.assert_close(p.log_partition, tensor(file["log_partition"]), atol=1e-9, rtol=0)
    torch.testing.assert_close(p.log_prob(x), tensor(file["log_prob"]), atol=1e-9, rtol=0)
    if "log_score" in file:
        torch.testing.assert_close(p.unnormalized_log_prob(x), tensor(file["log_score"]), atol=1e-9, rtol=0)
    for mask, expected in zip(file["marg_mask"], file["marg_logp"], strict=True) if "marg_mask" in file else ():
        hidden = x.masked_fill(tensor(mask), torch.nan)
        torch.testing.assert_close(p.log_prob(hidden), tensor(expected), atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", CIRCUITS)
def test_values_in_float32(name):
    file = load(name)
    model, _ = circuit_of(file)
    p = model.float()()
    x = tensor(file["x"]).float()
    for value, key in [(p.log_prob(x), "log_prob"), (p.log_partition, "log_partition")]:
        torch.testing.assert_close(value, tensor(file[key]).float(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", CIRCUITS)
def test_gradients(name):
    file = load(name)
    model, slots = circuit_of(file)
    tolerance = 1e-6 if "spline" in name else 1e-8
    model().log_prob(tensor(file["x"]).double()).mean().backward()

    def check(ours, key):
        if key in file:
            expected = tensor(file[key])
            torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())

    prefix = "grad_log" if model.positive else "grad_"
    for parameter, level in zip(model.weights, model.schedule.levels, strict=False):
        for gradient, region in zip(parameter.grad, level.splits, strict=True):
            check(gradient, f"{prefix}W_{region}")
    check(model.weights[0].grad.sum(0), f"{prefix}W_root_tied")
    symbols = {"loc": "grad_mu", "logit": "grad_logit", "table": f"{prefix}E", "coefficients": f"{prefix}S"}
    for group, mine in groups_of(model, slots):
        for parameter, symbol in symbols.items():
            if hasattr(group, parameter):
                for gradient, (region, variable) in zip(getattr(group, parameter).grad, mine, strict=True):
                    check(gradient, f"{symbol}_{region}_{variable}")


@pytest.mark.parametrize("name", ["sq_hmm_T6_V5_H4", "mono_hmm_T6_V5_H4"])
def test_hidden_markov_model_is_a_linear_tree(name):
    """``y_t = e(x_t) * (A y_(t+1))``: the transition is every chain sum, and the mixture above the last variable."""
    file = load(name)
    length, states = file["x"].shape[1], len(file["prior"])
    squared = name.startswith("sq")
    inputs = Categorical(file["emission"].shape[1])
    graph = linear_tree(length)
    model = Circuit(graph, inputs, units=states, squared=squared, input_mixture=True).double()
    with torch.no_grad():
        transition, tiny = tensor(file["transition"]), 1e-300
        identity = torch.eye(states, dtype=torch.float64)
        values = [tensor(file["prior"])[None, None]] + [transition[None]] * (length - 2)
        last = [graph.scopes[r] == (length - 1,) for r in model.schedule.leaves]
        values.append(torch.stack([transition if is_last else identity for is_last in last]))
        values.append(tensor(file["emission"]).expand(length, -1, -1))
        parameters = [*model.weights, model.input_mixture, model.inputs.groups[0].table]
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value if squared else value.clamp(min=tiny).log())
    p = model()
    x = tensor(file["x"])
    torch.testing.assert_close(p.log_prob(x), tensor(file["log_prob"]), atol=1e-9, rtol=0)
    torch.testing.assert_close(p.log_partition, tensor(file["log_partition"]), atol=1e-9, rtol=0)
    for mask, expected in zip(file["marg_mask"], file["marg_logp"], strict=True):
        hidden = x.masked_fill(tensor(mask), -1)
        torch.testing.assert_close(p.log_prob(hidden), tensor(expected), atol=1e-9, rtol=0)


def test_spline_basis():
    file = load("spline_basis")
    for case in sorted(k.split("_")[1] for k in file if k.startswith("order_")):
        order, x, expected = int(file[f"order_{case}"]), file[f"x_{case}"], file[f"basis_{case}"]
        (low, high), functions = file[f"interval_{case}"], expected.shape[1]
        basis = spline_basis(functions, order)
        cells = functions - order
        place = (x - low) / (high - low) * cells
        cell = np.clip(place.astype(int), 0, cells - 1)
        ours = np.zeros_like(expected)
        for row, (c, t) in enumerate(zip(cell, place - cell, strict=True)):
            if 0 <= place[row] <= cells:
                ours[row, c : c + order + 1] = basis.pieces[c] @ t ** np.arange(order + 1)
        np.testing.assert_allclose(ours, expected, atol=1e-12, rtol=0)
        np.testing.assert_allclose(basis.integrals * (high - low), file[f"integral_{case}"], rtol=1e-10)
        gram = sum(np.diag(basis.gram_bands[o, : functions - o], o) for o in range(order + 1))
        gram = (gram + np.triu(gram, 1).T) * (high - low)
        np.testing.assert_allclose(gram, file[f"gram_{case}"], rtol=1e-10, atol=1e-15)
