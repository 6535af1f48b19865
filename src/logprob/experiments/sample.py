"""Samples of a finished run, written into its folder."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from torch import Tensor

from logprob.data import Dataset
from logprob.experiments.errors import RecipeError, RunError
from logprob.experiments.figures.canvas import save
from logprob.experiments.figures.images import image_grid, pixels_of
from logprob.experiments.files import write_atomically
from logprob.experiments.results import RunFolder, free_path
from logprob.experiments.runner import load_run
from logprob.experiments.sampling import Inverse, draw_rows, drawer, inverses
from logprob.experiments.seeding import fixed_draws

SHOWN = 200  # images of the picture


def sample_run(
    folder: str | Path,
    count: int,
    *,
    inverse: Inverse = "exact",
    checkpoint: str = "best",
    seed: int = 0,
    data_root: str | Path | None = None,
    device: str | None = None,
    imports: Sequence[str] = (),
) -> list[Path]:
    """Draw samples of a run's model into its folder: ``samples.npy`` and, of images, a picture beside it.

    Nothing is overwritten: where the name is taken, it becomes ``samples-2.npy`` and so on. The rows are in the
    units of the model's data, as :func:`load` gives them.

    Args:
        folder: of the run.
        count: number of samples.
        inverse: of a flow whose layers keep learned inverses, whether to draw by those or by the exact ones.
        checkpoint: as in :func:`load`.
        seed: of the samples.
        data_root: as in :func:`load`.
        device: as in :func:`load`.
        imports: as in :func:`load`.

    Returns:
        The files.

    Raises:
        RunError: if the model has no sampler or no such inverse, is conditional, or nothing can be written.
    """
    if count < 1:
        raise RecipeError(f"--count: expected at least 1, got {count}")
    place = RunFolder(Path(folder))
    prepared = load_run(place, checkpoint, data_root, device, imports)
    if prepared.dataset.train.context is not None:
        raise RunError(f"the model of {folder} is conditional; sample it from Python, with a context")
    try:
        with fixed_draws(prepared.device, seed):
            rows = draw_rows(drawer(prepared.model, inverse), count)
    except NotImplementedError as error:
        raise RunError(f"cannot sample: {error}") from None
    return _write(place, rows, prepared.dataset, inverse if len(inverses(prepared.model)) > 1 else "")


def _write(folder: RunFolder, rows: Tensor, dataset: Dataset, inverse: str) -> list[Path]:
    path = free_path(folder.path / "samples.npy")
    content = BytesIO()
    np.save(content, rows.numpy())
    write_atomically(path, content.getvalue())
    if dataset.image_shape is None:
        return [path]
    pixels = pixels_of(dataset.train.x, dataset.image_shape, dataset.categories)
    picture = free_path(path.with_suffix(".png"))
    save(image_grid(rows[:SHOWN], pixels, "samples" + f" by the {inverse} inverse" * bool(inverse)), picture)
    return [path, picture]
