"""A figure to draw on, and its PNG file."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from logprob.experiments.files import write_atomically, writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 120


def blank(rows: int, columns: int, size: tuple[float, float], **layout: Any) -> tuple[Figure, Any]:
    """A figure of ``size`` inches with axes in rows and columns."""
    # Figure without pyplot: no global state, no window system, no warning about many open figures.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **layout)


def bare(axis: Any) -> None:
    """No ticks and no frame."""
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all.

    Raises:
        RunError: if it cannot be written.
    """
    content = BytesIO()
    figure.savefig(content, dpi=DPI, format="png")
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())
