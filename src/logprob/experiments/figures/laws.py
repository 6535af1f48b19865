"""Pictures of relaxed discrete laws: how well they fit, how they were fitted, how near to one-hot they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from logprob.experiments.figures.canvas import blank
from logprob.simplex.certificate import Certificate
from logprob.simplex.proximity import Proximity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOW = 10  # losses of which the rolling mean is drawn
BOXES = 20  # of more temperatures, as many at equal distances


def law_histograms(certificates: Mapping[str, Certificate]) -> Figure:
    """Target beside start, and beside the end, one law a row; the certificate is the title.

    Args:
        certificates: by the name of the law.
    """
    figure, axes = blank(len(certificates), 2, (9, 2.4 * len(certificates) + 0.2), sharey="row")
    for row, (name, certificate) in zip(axes, certificates.items(), strict=True):
        for axis, probs, title in (
            (row[0], certificate.start, f"{name}: start"),
            (row[1], certificate.probs, f"{name}: {certificate}"),
        ):
            _bars(axis, certificate.target, probs, title)
    axes[0, 0].legend(frameon=False, fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("category")
    return figure


def _bars(axis: Any, target: Tensor, probs: Tensor, title: str) -> None:
    """The target as filled bars, what is reached as steps over them: both are seen where they agree."""
    axis.bar(np.arange(len(target)), target.numpy(), width=0.9, color="0.75", label="target")
    edges = np.arange(len(probs) + 1) - 0.5
    axis.stairs(probs.numpy(), edges, color="C0", linewidth=1.2, label="relaxed law")
    axis.set_xlim(-1, max(len(target), len(probs)))
    axis.set_title(title, fontsize=8)
    axis.xaxis.get_major_locator().set_params(integer=True)


def fitting_losses(certificates: Mapping[str, Certificate]) -> Figure:
    """Loss of each step of gradient descent, with the mean of the last ten; laws without any are left out.

    Args:
        certificates: by the name of the law.

    Raises:
        ValueError: if no law was fitted by gradient descent.
    """
    fitted = {name: c.losses for name, c in certificates.items() if c.losses}
    if not fitted:
        raise ValueError("expected a law that was fitted by gradient descent, got none with losses")
    figure, axes = blank(1, 1, (6, 3.5))
    axis = axes[0, 0]
    for color, (name, losses) in enumerate(fitted.items()):
        axis.plot(losses, color=f"C{color}", alpha=0.25, linewidth=0.8)
        axis.plot(*_rolling_mean(losses), color=f"C{color}", label=name)
    axis.set_yscale("log")
    axis.set_xlabel("step")
    axis.set_ylabel(f"loss, and its mean over {WINDOW} steps")
    axis.legend(frameon=False, fontsize=8)
    return figure


def _rolling_mean(losses: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Steps, and the mean of the window that ends there."""
    window = min(WINDOW, len(losses))
    return np.arange(window - 1, len(losses)), np.convolve(losses, np.ones(window) / window, "valid")


def proximity_boxes(results: Mapping[str, Proximity]) -> Figure:
    """Boxes of the distances to the nearest vertex, a panel a family and a box a temperature.

    Args:
        results: by the name of the family; laws without a batch.
    """
    figure, axes = blank(len(results), 1, (8, 2.6 * len(results) + 0.2), sharey=True)
    for axis, (name, result) in zip(axes[:, 0], results.items(), strict=True):
        count = len(result.temperatures)
        chosen = np.linspace(0, count - 1, min(BOXES, count)).round().astype(int)
        _boxes(axis, {f"{result.temperatures[index]:.2g}": result.distances[index] for index in chosen})
        axis.set_title(f"{name}: distance to the nearest vertex (box 25-75 %, whiskers 10-90 %)", fontsize=9)
        axis.tick_params(axis="x", labelsize=7)
    axes[-1, 0].set_xlabel("temperature")
    return figure


def posterior_boxes(results: Mapping[str, Tensor]) -> Figure:
    """Boxes over images of the typical distance of their codes to one-hot codes, one for each trained model.

    Args:
        results: of :func:`~logprob.simplex.posterior_proximity`, by the name of the model and its temperature.
    """
    figure, axes = blank(1, 1, (1.5 + 1.1 * len(results), 3.5))
    _boxes(axes[0, 0], results)
    axes[0, 0].set_ylabel("distance to the nearest vertex")
    axes[0, 0].set_title("images (box 25-75 %, whiskers 10-90 %)", fontsize=9)
    return figure


def _boxes(axis: Any, distances: Mapping[str, Tensor]) -> None:
    numbers = [values.double().cpu().numpy() for values in distances.values()]
    style = {"whis": (10, 90), "showfliers": False, "medianprops": {"color": "C0"}}
    axis.boxplot(numbers, tick_labels=list(distances), **style)


def proximity_curves(results: Mapping[str, Proximity]) -> Figure:
    """Median, 10 % and 20 % quantile and deviation of the distance against the temperature, smoothed, by family.

    Args:
        results: by the name of the family; laws without a batch, at several temperatures.
    """
    figure, axes = blank(2, 2, (8, 5.5), sharex=True)
    statistics = {
        "median": lambda result: result.median,
        "10 % quantile": lambda result: result.quantile(0.1),
        "20 % quantile": lambda result: result.quantile(0.2),
        "standard deviation": lambda result: result.deviation,
    }
    for axis, (title, statistic) in zip(axes.flat, statistics.items(), strict=True):
        for color, (name, result) in enumerate(results.items()):
            x, y = np.array(result.temperatures), statistic(result).double().cpu().numpy()
            axis.plot(x, y, ".", color=f"C{color}", markersize=2.5, alpha=0.5)
            axis.plot(x, kernel_ridge(x, y), color=f"C{color}", label=name)
        axis.set_title(title, fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("temperature")
    axes[0, 0].legend(frameon=False, fontsize=8)
    return figure


def kernel_ridge(x: np.ndarray, y: np.ndarray, gamma: float = 10.0, alpha: float = 1.0) -> np.ndarray:
    """Smooth y by ridge regression with the kernel ``exp(-gamma (x - x')^2)``; it leans towards 0 at the ends."""
    kernel = np.exp(-gamma * (x[:, None] - x[None, :]) ** 2)
    smoothed: np.ndarray = kernel @ np.linalg.solve(kernel + alpha * np.eye(len(x)), y)
    return smoothed
