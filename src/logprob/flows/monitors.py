"""How honest the learned inverses are: numbers for each self-normalizing layer of a model, on demand."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from logprob.batch import Batch
from logprob.flows.base import SurrogateOptions
from logprob.flows.convolution import SelfNormalizingConv2d
from logprob.flows.flow import HasSurrogate
from logprob.flows.linear import SelfNormalizingLinear

SelfNormalizing = SelfNormalizingLinear | SelfNormalizingConv2d


class LayerReport(NamedTuple):
    """What :func:`monitor` says of one layer.

    Args:
        name: dotted name of the layer in the model.
        gradient_cosine: between the surrogate's and the exact gradient of the mean log-density with respect to
            the weight: data and log-determinant together.
        log_det_cosine: the same for the log-determinant alone.
        inverse_error: ``||v - R W v|| / ||v||`` over normal vectors v, an estimate of ``||I - R W||_F / sqrt(D)``.
        condition: condition number of the layer's linear map; of a convolution by power iterations, a lower bound.
        energy: reconstruction energy per dimension on these rows; NaN where R is not trained.
    """

    name: str
    gradient_cosine: float
    log_det_cosine: float
    inverse_error: float
    condition: float
    energy: float


def monitor(model: HasSurrogate, x: Tensor, context: Tensor | None = None, iterations: int = 30) -> list[LayerReport]:
    """Compare every learned inverse inside ``model`` with the truth, on a batch.

    It costs a step of the exact method, and some products for each layer. The model is left as it is, and
    torch's random state too. Layers without a learned inverse are left out.

    Args:
        model: a flow, or anything with ``surrogate_log_prob``.
        x: rows; a hundred are enough.
        context: of the rows.
        iterations: of the power iterations for the condition number of a convolution.

    Example:
        >>> import torch
        >>> from logprob.flows import DenseFlow
        >>> [report.name for report in monitor(DenseFlow(4), torch.randn(8, 4))]
        ['layers.layers.0', 'layers.layers.2']
    """
    layers = dict(_self_normalizing(model))
    with (
        torch.random.fork_rng(devices=[x.device] if x.is_cuda else []),
        torch.enable_grad(),
        _training(layers.values()),
    ):
        state = torch.get_rng_state()  # noise that the model adds must be the same for both
        surrogate, energies = _gradients(model, x, context, layers.values())
        torch.set_rng_state(state)
        with _exact_log_dets(layers.values()):
            exact, _ = _gradients(model, x, context, layers.values())
        reports = []
        for (name, layer), estimate, true, energy in zip(layers.items(), surrogate, exact, energies, strict=True):
            probe = torch.randn(16, *_event_shape(layer), dtype=layer.weight.dtype, device=layer.weight.device)
            cosines = _cosine(estimate, true), _log_det_cosine(layer, probe[:1])
            error, condition = _inverse_error(layer, probe), _condition(layer, probe[:1], iterations)
            reports.append(LayerReport(name, *cosines, error, condition, energy))
    return reports


@dataclass(frozen=True)
class InverseMonitor:
    """The worst layer of :func:`monitor` as a metric: ``gradient_cosine`` and ``log_det_cosine`` (1 is exact, higher
    is better), ``inverse_error``, ``energy`` (0 is exact, lower is better) and ``condition`` (lower is better).

    Args:
        rows: rows of the split to look at, from its start.
        iterations: of the power iterations for the condition number of a convolution.
    """

    rows: int = 100
    iterations: int = 10

    def __call__(self, model: Any, batch: Batch) -> Mapping[str, float]:
        """The numbers; none for a model without self-normalizing layers."""
        part = batch.rows(slice(0, self.rows))
        reports = monitor(model, part.x, part.context, self.iterations)
        if not reports:
            return {}
        smallest = {name: min(getattr(r, name) for r in reports) for name in ("gradient_cosine", "log_det_cosine")}
        largest = {name: max(getattr(r, name) for r in reports) for name in ("inverse_error", "condition")}
        energies = [report.energy for report in reports if not math.isnan(report.energy)]
        largest |= {"energy": max(energies)} if energies else {}
        return smallest | largest


def _self_normalizing(model: Any) -> Iterator[tuple[str, SelfNormalizing]]:
    for name, module in model.named_modules():
        if isinstance(module, SelfNormalizing) and module.inverse_weight is not None:
            yield name, module


@contextmanager
def _training(layers: Iterable[SelfNormalizing]) -> Iterator[None]:
    """Let the weights take gradients for a while."""
    frozen = [layer.weight for layer in layers if not layer.weight.requires_grad]
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)


@contextmanager
def _exact_log_dets(layers: Iterable[SelfNormalizing]) -> Iterator[None]:
    """Let surrogates be exact for a while; the public setter would drop the learned inverses."""
    modes = [(layer, layer._log_det) for layer in layers]
    try:
        for layer, _ in modes:
            layer._log_det = "exact"
        yield
    finally:
        for layer, mode in modes:
            layer._log_det = mode


def _gradients(
    model: HasSurrogate, x: Tensor, context: Tensor | None, layers: Collection[SelfNormalizing]
) -> tuple[Sequence[Tensor], list[float]]:
    """Gradients of the mean log-density in the weights, and the energies per dimension."""
    if not layers:
        return [], []
    log_prob, energies = model.surrogate_log_prob(x, context, SurrogateOptions("inverse"))
    gradients = torch.autograd.grad(log_prob.mean(), [layer.weight for layer in layers])
    per_dimension = iter([energy.value.item() / energy.dimensions for energy in energies])
    return gradients, [next(per_dimension) if layer.log_det == "self-normalizing" else math.nan for layer in layers]


def _event_shape(layer: SelfNormalizing) -> tuple[int, ...]:
    if isinstance(layer, SelfNormalizingLinear):
        return (layer.features,)
    return (layer.channels, *(layer.image_size or (1, 1)))


def _cosine(a: Tensor, b: Tensor) -> float:
    return cosine_similarity(a.flatten().double(), b.flatten().double(), 0).item()


def _log_det_cosine(layer: SelfNormalizing, probe: Tensor) -> float:
    (estimate,) = torch.autograd.grad(layer.surrogate(probe, None, SurrogateOptions(None)).ladj.sum(), layer.weight)
    (exact,) = torch.autograd.grad(layer(probe)[1].sum(), layer.weight)
    return _cosine(estimate, exact)


@torch.no_grad()
def _inverse_error(layer: SelfNormalizing, probe: Tensor) -> float:
    error = layer.inverse(layer(probe)[0], method="approximate") - probe
    return (error.norm() / probe.norm()).item()


def _condition(layer: SelfNormalizing, probe: Tensor, iterations: int) -> float:
    """Largest singular value of the map times that of its inverse."""
    if isinstance(layer, SelfNormalizingLinear):
        return torch.linalg.cond(layer.weight.detach()).item()
    offset = layer(torch.zeros_like(probe))[0].detach()
    return _norm(lambda v: layer(v)[0] - offset, probe, iterations) * _norm(
        lambda v: layer.inverse(v + offset), probe, iterations
    )


def _norm(linear: Callable[[Tensor], Tensor], v: Tensor, iterations: int) -> float:
    """Largest singular value of a linear map by power iterations on ``A^T A``."""
    for _ in range(iterations):
        v = (v / v.norm()).detach().requires_grad_()
        image = linear(v)
        (v,) = torch.autograd.grad(image, v, image.detach())
    return v.norm().sqrt().item()
