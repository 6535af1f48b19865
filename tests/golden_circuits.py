"""Build circuits from the reference files of tests/golden/npc2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from logprob.circuits import Binomial, BSpline, Categorical, Circuit, Gaussian, RegionGraph

FOLDER = Path(__file__).parent / "golden" / "npc2"


def load(name):
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def tensor(array):
    return torch.as_tensor(np.asarray(array))


def graph_of(file):
    scopes = tuple(tuple(int(v) for v in np.flatnonzero(row)) for row in file["scope"])
    children = tuple(
        None if left < 0 else (int(left), int(right)) for left, right in zip(file["left"], file["right"], strict=True)
    )
    return RegionGraph(scopes, children)


def circuit_of(file):
    """The circuit of a file, in float64, and the names of its slots ``(region, variable)``."""
    graph = graph_of(file)
    families = [_family(file, graph, variable) for variable in range(graph.variables)]
    units = next(len(v) for k, v in file.items() if k.startswith(("mu_", "E_", "p_", "S_")))
    inner = next(v for k, v in file.items() if k.startswith("W_"))
    positive = not bool(file["squared"]) or any(k.startswith("grad_logW") for k in file)
    model = Circuit(
        graph,
        families,
        units=units,
        layer="cp" if inner.ndim == 2 else "tucker",
        squared=bool(file["squared"]),
        weights="positive" if positive else "signed",
        input_mixture=any(k.startswith("M_") for k in file),
    ).double()
    slots = [(r, v) for r in model.schedule.leaves for v in graph.scopes[r]]
    with torch.no_grad():
        for parameter, regions in zip(model.weights, (level.splits for level in model.schedule.levels), strict=False):
            store(model, parameter, [file[f"W_{r}"] for r in regions])
        if model.input_mixture is not None:
            store(model, model.input_mixture, [file[f"M_{r}"] for r in model.schedule.leaves])
        if model.repetition_logits is not None:
            model.repetition_logits.copy_(tensor(file["root_mixture"]).log())
        for group, mine in groups_of(model, slots):
            for name, value in _parameters(file, mine).items():
                if name in ("table", "coefficients"):
                    store(model, getattr(group, name), value)
                else:
                    getattr(group, name).copy_(tensor(np.stack(value)))
    return model, slots


def groups_of(model, slots):
    """Each group of the leaves with its slots, in the order of its parameters."""
    for family, group in zip(model.inputs.families, model.inputs.groups, strict=True):
        yield group, [slot for slot in slots if model.families[slot[1]] == family]


def store(model, parameter, values):
    value = tensor(np.stack(values))
    parameter.copy_(value.log() if model.positive else value)


def _family(file, graph, variable):
    leaf = next(r for r in graph.leaves if variable in graph.scopes[r])
    key = f"{leaf}_{variable}"
    if f"mu_{key}" in file:
        return Gaussian()
    if f"E_{key}" in file:
        return Categorical(file[f"E_{key}"].shape[1])
    if f"p_{key}" in file:
        return Binomial(int(file["num_states"]) - 1)
    low, high = (float(v) for v in file["spline_interval"])
    return BSpline(file[f"S_{key}"].shape[1], int(file["spline_order"]), (low, high))


def _parameters(file, slots):
    r, v = slots[0]
    if f"mu_{r}_{v}" in file:
        return {
            "loc": [file[f"mu_{r}_{v}"] for r, v in slots],
            "log_scale": [np.log(file[f"sigma_{r}_{v}"] - 1e-5) for r, v in slots],
        }
    if f"E_{r}_{v}" in file:
        return {"table": [file[f"E_{r}_{v}"] for r, v in slots]}
    if f"p_{r}_{v}" in file:
        return {"logit": [np.log(file[f"p_{r}_{v}"]) - np.log1p(-file[f"p_{r}_{v}"]) for r, v in slots]}
    return {
        "coefficients": [file[f"S_{r}_{v}"] for r, v in slots],
        "lower": [np.float64(file["spline_interval"][0]) for _ in slots],
        "upper": [np.float64(file["spline_interval"][1]) for _ in slots],
    }
