"""Samples of a finished run, written into its folder."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from torch import Tensor

from logprob.data import Dataset
from logprob.distributions.draws import fixed_draws
from logprob.experiments.errors import RecipeError, RunError
from logprob.experiments.figures.canvas import save
from logprob.experiments.figures.images import image_grid, pixels_of
from logprob.experiments.files import write_atomically, write_json
from logprob.experiments.results import RunFolder, free_path
from logprob.experiments.runner import load_run
from logprob.experiments.sampling import Inverse, draw_rows, drawer, inverses
from logprob.experiments.versions import versions

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

    ``samples.json`` says how they were drawn. Nothing is overwritten: where a name is taken, all become
    ``samples-2`` and so on. The rows are in the units of the model's data, as :func:`load` gives them.

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
    path = free_path(place.path / "samples.npy", ".json", ".png")
    how = {"checkpoint": checkpoint, "inverse": inverse, "seed": seed, "count": count, "device": str(prepared.device)}
    write_json(path.with_suffix(".json"), how | {"versions": versions()})
    _write(path, rows)
    title = "samples" + f" by the {inverse} inverse" * (len(inverses(prepared.model)) > 1)
    return [path, path.with_suffix(".json"), *_picture(path.with_suffix(".png"), rows, prepared.dataset, title)]


def _write(path: Path, rows: Tensor) -> None:
    content = BytesIO()
    np.save(content, rows.numpy())
    write_atomically(path, content.getvalue())


def _picture(path: Path, rows: Tensor, dataset: Dataset, title: str) -> list[Path]:
    if dataset.image_shape is None:
        return []
    pixels = pixels_of(dataset.train.x, dataset.image_shape, dataset.categories)
    save(image_grid(rows[:SHOWN], pixels, title), path)
    return [path]
