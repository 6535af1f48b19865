"""Pictures of a run: learning curves, densities on the plane, sheets of images, learned inverses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from logprob.batch import Batch
from logprob.distributions.draws import fixed_draws
from logprob.experiments.errors import RunError
from logprob.experiments.figures.canvas import save
from logprob.experiments.figures.completions import completion_drawings
from logprob.experiments.figures.curves import learning_curves
from logprob.experiments.figures.graphs import graph_drawings
from logprob.experiments.figures.images import Pixels, image_grid, image_sheet, pixels_of, reconstruction_grid
from logprob.experiments.figures.latents import latent_drawings
from logprob.experiments.figures.maps import map_drawings
from logprob.experiments.figures.planes import density_panels, pmf_panels
from logprob.experiments.figures.weights import filter_figure, inverse_pairs
from logprob.experiments.prepare import Prepared
from logprob.experiments.results import RunFolder
from logprob.experiments.sampling import Inverse, draw_rows, drawer, inverses, reconstructs, seconds_per_sample
from logprob.experiments.schema import Figures
from logprob.metrics import log_prob_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Painter", "density_panels", "draw_run", "image_sheet", "learning_curves", "pmf_panels"]

SCORED = 2048  # test rows of which the sheet by log-probability is chosen

Drawing = tuple[str, Callable[[], "Figure"]]


class Painter:
    """Draws during training, every so many epochs; it changes no result.

    Args:
        folder: of the run.
        prepared: the run.
        say: takes lines for a person.
    """

    def __init__(self, folder: RunFolder, prepared: Prepared, say: Callable[[str], None]) -> None:
        self.folder, self.prepared, self.say = folder, prepared, say

    def on_step(self, fit: Any, loss: float) -> None:
        """Do nothing."""

    def on_epoch(self, fit: Any, record: Mapping[str, Any]) -> None:
        """Draw, if it is time."""
        figures, epochs = self.prepared.figures, fit.progress.epochs
        if figures is not None and figures.every and epochs % figures.every == 0:
            into = self.folder.figures / f"epoch-{epochs:04d}"
            _draw(_of_weights(self.prepared, figures, f", epoch {epochs}"), into, self.prepared, self.say)

    def on_save(self, fit: Any) -> None:
        """Do nothing."""


def draw_run(folder: RunFolder, prepared: Prepared, say: Callable[[str], None]) -> dict[str, float]:
    """Draw all figures that suit data and model into ``folder.figures``.

    A figure that cannot be drawn is named to ``say`` and left out.

    Returns:
        Seconds that one sample takes, by inverse; empty if none is drawn.
    """
    figures = prepared.figures
    if figures is None:
        return {}
    curves = partial(learning_curves, list(folder.metrics()), prepared.monitor.metric)
    drawings = [("learning_curves.png", curves), *_of_weights(prepared, figures), *_of_test_rows(prepared)]
    _draw(drawings, folder.figures, prepared, say)
    with fixed_draws(prepared.device):
        return {inverse: seconds_per_sample(drawer(prepared.model, inverse)) for inverse in _drawn(prepared, figures)}


def _draw(drawings: Any, into: Path, prepared: Prepared, say: Callable[[str], None]) -> None:
    for name, make in drawings:
        try:
            with fixed_draws(prepared.device), torch.no_grad():
                save(make(), into / name)
        except NotImplementedError:  # an IntractableError is one
            pass  # nothing is wrong; the model has no such thing
        except (RunError, ValueError, RuntimeError, MemoryError) as error:
            say(f"warning: {name} was not drawn: {' '.join(str(error).split())}")


def _of_weights(prepared: Prepared, figures: Figures, when: str = "") -> Iterator[Drawing]:
    """What shows the present weights, without a pass over the data."""
    data = prepared.dataset
    if figures.filters and (pairs := inverse_pairs(prepared.model)):
        yield "filters.png", partial(filter_figure, pairs)
    yield from graph_drawings(prepared.model, prepared.rows(data.test))
    if data.train.context is not None:
        yield from map_drawings(prepared.model, prepared.rows(data.test))
        if figures.samples and data.image_shape is not None:
            yield from completion_drawings(prepared.model, prepared.rows(data.test), _pixels(prepared))
        return
    score = _log_prob_of(prepared)
    if data.variables == 2 and data.categories is None:
        yield "density.png", partial(density_panels, score, data.train.x, data.true_log_prob)
    elif data.variables == 2 and data.categories is not None:
        yield "pmf.png", partial(pmf_panels, score, data.train.x, data.categories)
    if data.image_shape is None:
        return
    pixels = _pixels(prepared)
    for inverse in _drawn(prepared, figures):
        yield f"samples-{inverse}.png", partial(_samples, prepared, inverse, figures.samples, pixels, when)
    rows = prepared.rows(Batch(data.test.x[:SCORED])).x
    yield from latent_drawings(prepared.model, rows, pixels, figures.samples)
    if figures.reconstructions and reconstructs(prepared.model):
        rows = prepared.rows(data.test.rows(slice(0, figures.reconstructions))).x
        yield "reconstructions.png", partial(_reconstructions, prepared.model, rows, pixels)


def _of_test_rows(prepared: Prepared) -> Iterator[Drawing]:
    """What needs many rows of the data."""
    data = prepared.dataset
    if data.train.context is None and data.image_shape is not None:
        yield "images.png", partial(_images, prepared, data.test.x[:SCORED], _pixels(prepared))


def _pixels(prepared: Prepared) -> Pixels:
    data = prepared.dataset
    assert data.image_shape is not None
    return pixels_of(data.train.x, data.image_shape, data.categories)


def _drawn(prepared: Prepared, figures: Figures) -> tuple[Inverse, ...]:
    """Inverses by which images are drawn; none if the model has no sampler."""
    data = prepared.dataset
    if not figures.samples or data.image_shape is None or data.train.context is not None:
        return ()
    try:
        with fixed_draws(prepared.device):
            draw_rows(drawer(prepared.model), 1)
    except NotImplementedError:
        return ()
    offered = inverses(prepared.model)
    return offered if figures.inverse == "both" else tuple(i for i in offered if i == figures.inverse)


def _samples(prepared: Prepared, inverse: Inverse, count: int, pixels: Pixels, when: str) -> Figure:
    rows = draw_rows(drawer(prepared.model, inverse), count)
    by = f" by the {inverse} inverse" if len(inverses(prepared.model)) > 1 else ""
    return image_grid(rows, pixels, f"samples{by}{when}")


def _reconstructions(model: Any, rows: Tensor, pixels: Pixels) -> Figure:
    return reconstruction_grid(rows, model.reconstruct(rows), pixels)


def _images(prepared: Prepared, x: Tensor, pixels: Pixels) -> Figure:
    """Test images by log-probability, by its bound where that is all there is, and else as they come."""
    try:
        return image_sheet(_log_prob_of(prepared), x, pixels)
    except NotImplementedError:
        if not hasattr(prepared.model(), "log_prob_bound"):
            return image_grid(x[:40], pixels, "test images")
        return image_sheet(_bound_of(prepared), x, pixels, "a bound of their log-probability (nats)")


def _log_prob_of(prepared: Prepared) -> Callable[[Tensor], Tensor]:
    def log_prob(x: Tensor) -> Tensor:
        return log_prob_rows(prepared.model, prepared.rows(Batch(x))).cpu()

    return log_prob


def _bound_of(prepared: Prepared) -> Callable[[Tensor], Tensor]:
    def bound(x: Tensor) -> Tensor:
        distribution: Any = prepared.model()
        rows = prepared.rows(Batch(x)).x
        return torch.cat([distribution.log_prob_bound(part) for part in rows.split(256)]).double().cpu()

    return bound
