"""Samples of a trained model, by whichever inverse it has, and the time that one takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from logprob.distributions import DistributionModule, IntractableError

Inverse = Literal["exact", "approximate"]
Draw = Callable[[int], Tensor]

CHUNK = 250  # rows drawn at once
TIMED = 10  # single samples that are timed


def inverses(model: DistributionModule) -> tuple[Inverse, ...]:
    """The ways to draw from ``model``: a flow whose layers keep learned inverses can use those too."""
    learned = hasattr(model, "approximate_inverse") and any(
        getattr(module, "inverse_weight", None) is not None for module in model.modules()
    )
    return ("exact", "approximate") if learned and _base(model) is not None else ("exact",)


def reconstructs(model: DistributionModule) -> bool:
    """Whether rows come back changed by ``model.reconstruct``: not from a flow that keeps no learned inverse."""
    return hasattr(model, "reconstruct") and (_base(model) is None or "approximate" in inverses(model))


def drawer(model: DistributionModule, inverse: Inverse = "exact") -> Draw:
    """A function that draws so many rows.

    A flow draws latents from its base and inverts them, so that under the same seed both inverses show what they
    make of the same latents. Values of a dequantised flow are rounded down to the integers that they are of.

    Raises:
        IntractableError: if the model has no such inverse; when called, if its distribution has no sampler.
    """
    if inverse not in inverses(model):
        raise IntractableError(f"{type(model).__name__} keeps no learned inverse; draw by the exact one")
    flow: Any = model
    base, categories = _base(model), getattr(model, "categories", None)
    if base is None or not hasattr(flow, "inverse"):
        return lambda count: model().sample(torch.Size((count,)))

    def draw(count: int) -> Tensor:
        x: Tensor = flow.inverse(base().sample(torch.Size((count,))), None, inverse)
        return x if categories is None else x.nan_to_num().floor().clamp(0, categories - 1).long()

    return draw


def draw_rows(draw: Draw, count: int) -> Tensor:
    """``count`` rows on the CPU, drawn some at a time; call it inside ``fixed_draws`` for a seed."""
    with torch.no_grad():
        return torch.cat([draw(min(CHUNK, count - start)).cpu() for start in range(0, count, CHUNK)])


def seconds_per_sample(draw: Draw) -> float:
    """Mean time of one sample drawn alone, without the fastest and the slowest fifth of the draws."""
    seconds = []
    for _ in range(TIMED):
        started = time.perf_counter()
        with torch.no_grad():
            draw(1).cpu()  # waits for the device
        seconds.append(time.perf_counter() - started)
    kept = sorted(seconds)[TIMED // 5 : TIMED - TIMED // 5]
    return sum(kept) / len(kept)


def _base(model: DistributionModule) -> Any:
    """The distribution of a flow's latents, also of a flow inside a model of integers."""
    return getattr(getattr(model, "flow", model), "base", None)
