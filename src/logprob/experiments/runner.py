"""One run: a recipe in, a folder of results out; and what can be done with that folder later."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from logprob.data import Dataset
from logprob.distributions import DistributionModule
from logprob.experiments.errors import DivergedError, RecipeError, RunError
from logprob.experiments.figures import Painter, draw_run
from logprob.experiments.files import locked
from logprob.experiments.fit import Fit, Watcher
from logprob.experiments.loggers import check_loggers, open_loggers
from logprob.experiments.overrides import Override
from logprob.experiments.prepare import Prepared, find_device, prepare
from logprob.experiments.recipe import CheckedRecipe, check_recipe, find_recipe, read_recipe
from logprob.experiments.results import Result, RunFolder, Saver, best_state, free_path
from logprob.experiments.smoke import shortened, shortened_study
from logprob.experiments.study import cells_of, run_cells
from logprob.experiments.summary import announce, summarise
from logprob.experiments.versions import describe_data

Say = Callable[[str], None]


def run(
    recipe: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | Sequence[Override] = (),
    *,
    out: str | Path = "runs",
    data_root: str | Path | None = None,
    device: str = "cpu",
    imports: Sequence[str] = (),
    again: bool = False,
    checkpoint_every: float = 30.0,
    smoke: bool = False,
    published: bool = False,
    loggers: Sequence[str] = (),
    watchers: Sequence[Watcher] = (),
    say: Say = lambda line: None,
) -> Result:
    """Train and evaluate what a recipe says.

    Args:
        recipe: name of a shipped recipe, path of a YAML file, or its content.
        overrides: changes by dotted key, such as ``{"model.units": 8, "seed": 3}``.
        out: folder in which the run gets a folder of its own, ``<recipe>-<hash of its values>-s<seed>``.
        data_root: folder of data files, looked into first.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"auto"``.
        imports: modules whose classes the recipe may name besides logprob's.
        again: run in a new folder even if this run is there already.
        checkpoint_every: seconds between checkpoints, 0 for one every epoch. It changes no result.
        smoke: go through everything in seconds: two updates a phase on a few rows that stand in for the data.
        published: make the changes that the recipe lists under ``published``: what its paper did otherwise.
        loggers: of ``"csv"``, ``"tensorboard"`` and ``"wandb"``. They change no result.
        watchers: told of every step and epoch.
        say: takes lines for a person.

    Returns:
        The result; that of the earlier run if this one was made before.

    Raises:
        RecipeError: if the recipe is wrong. No folder was made.
        DivergedError: if the loss was not finite. The folder keeps the last good checkpoint and says so.
        RunError: if the folder holds an unfinished run or one under way, or cannot be written.

    Example:
        >>> run("npc2/mring", {"model.units": 4, "epochs": 10})  # doctest: +SKIP
    """
    _check_options(loggers, checkpoint_every)
    name, values = _read(recipe)
    pairs = list(overrides.items()) if isinstance(overrides, Mapping) else list(overrides)
    checked = check_recipe(name, values, pairs, imports, published)
    if checked.is_study:
        return _run_study(checked, Path(out), data_root, device, again, smoke, published, say)
    prepared = prepare(shortened(checked) if smoke else checked, data_root, device, smoke)
    folder = RunFolder(_folder(Path(out), prepared.recipe, again))
    data = describe_data(prepared.dataset)
    if folder.path.exists():
        _refuse_other_data(folder, folder.run(), data)
        return _already_there(folder, say)
    about = announce(name, prepared.recipe["seed"], data, device, data_root, smoke, published)
    folder.create(prepared.recipe.yaml(), about)
    say(f"run {folder.path}")
    with locked(folder.path), _fit(folder, prepared, checkpoint_every, loggers, watchers, say) as fit:
        return _train(folder, prepared, fit, about, say)


def resume(
    folder: str | Path,
    *,
    checkpoint: str | None = None,
    data_root: str | Path | None = None,
    device: str | None = None,
    imports: Sequence[str] = (),
    checkpoint_every: float = 30.0,
    loggers: Sequence[str] = (),
    watchers: Sequence[Watcher] = (),
    say: Say = lambda line: None,
) -> Result:
    """Take a run that was cut off to the end that it would have had.

    On the same machine and device, weights and metrics are bit-identical to those of a run never cut off.

    Args:
        folder: of the run.
        checkpoint: ``"last"`` or ``"previous"``; by default the latest.
        data_root: as in :func:`run`; by default that of the run.
        device: as in :func:`run`; by default that of the run.
        imports: as in :func:`run`; they must be named again.
        checkpoint_every: as in :func:`run`.
        loggers: as in :func:`run`.
        watchers: as in :func:`run`.
        say: as in :func:`run`.

    Raises:
        RunError: if the folder is no run, its checkpoint is damaged, or the data have changed.
    """
    _check_options(loggers, checkpoint_every)
    place = RunFolder(Path(folder))
    about = place.run()
    if checkpoint == "best":
        raise RunError("best holds weights only; training goes on from last or previous, evaluate takes best")
    try:
        finished = place.result()
    except RunError as error:
        say(f"{error}; doing so")
    else:
        if finished is not None:
            return _already_there(place, say)
    if about.get("study", False):
        recipe = check_recipe(about["recipe"], read_recipe(place.path / "recipe.yaml"), (), imports)
        return run_cells(place, recipe, about, data_root or about["data_root"] or about["folder"], say)
    prepared = _prepare_again(place, about, data_root, device, imports)
    with locked(place.path), _fit(place, prepared, checkpoint_every, loggers, watchers, say) as fit:
        if place.has_checkpoint():
            _fit_weights(lambda: fit.load_state(place.load(checkpoint)), place)
            place.truncate_metrics(fit.progress.metrics_size)
        else:
            place.truncate_metrics(0)
        say(f"run {place.path}, from epoch {fit.progress.epochs}")
        return _train(place, prepared, fit, about, say)


def load(
    folder: str | Path,
    *,
    checkpoint: str = "best",
    data_root: str | Path | None = None,
    device: str | None = None,
    imports: Sequence[str] = (),
) -> tuple[DistributionModule, Dataset]:
    """The trained model of a run, and its data.

    Args:
        folder: of the run.
        checkpoint: ``"best"``, ``"last"`` or ``"previous"``.
        data_root: folder of data files; by default that of the run.
        device: of the model; by default that of the run.
        imports: modules whose classes the recipe names besides logprob's.

    Returns:
        The model in evaluation mode, and the data set.
    """
    prepared = load_run(RunFolder(Path(folder)), checkpoint, data_root, device, imports)
    return prepared.model, prepared.dataset


def evaluate_run(
    folder: str | Path,
    *,
    checkpoint: str = "best",
    data_root: str | Path | None = None,
    device: str | None = None,
    imports: Sequence[str] = (),
) -> dict[str, dict[str, float]]:
    """Exact metrics of a checkpoint, computed anew, by split. Arguments as in :func:`load`."""
    return load_run(RunFolder(Path(folder)), checkpoint, data_root, device, imports).evaluate()


def _run_study(
    checked: CheckedRecipe,
    out: Path,
    data_root: str | Path | None,
    device: str,
    again: bool,
    smoke: bool,
    published: bool,
    say: Say,
) -> Result:
    """Several trainings whose numbers stand in one table."""
    recipe = shortened_study(checked) if smoke else checked
    study = recipe.node.build().study  # what its constructors refuse is found before a folder is made
    cells_of(study, recipe["seed"])
    find_device(device)
    folder = RunFolder(_folder(out, recipe, again))
    if folder.path.exists():
        return _already_there(folder, say)
    about = announce(checked.name, recipe["seed"], {}, device, data_root, smoke, published) | {"study": True}
    folder.create(recipe.yaml(), about)
    say(f"run {folder.path}")
    return run_cells(folder, recipe, about, data_root, say)


@contextmanager
def _fit(
    folder: RunFolder,
    prepared: Prepared,
    checkpoint_every: float,
    loggers: Sequence[str],
    watchers: Sequence[Watcher],
    say: Say,
) -> Iterator[Fit]:
    """The training with all who watch it; the saver first, as others read what it has written."""
    with open_loggers(loggers, folder, prepared.recipe.plain(), say) as logging:
        painter = [Painter(folder, prepared, say)] if prepared.figures and prepared.figures.every else []
        yield prepared.fit([Saver(folder, checkpoint_every), *painter, *logging, *watchers])


def _check_options(loggers: Sequence[str], checkpoint_every: float) -> None:
    check_loggers(loggers)
    if not checkpoint_every >= 0:
        raise RecipeError(f"checkpoint_every: expected at least 0 seconds, got {checkpoint_every}")


def _read(recipe: str | Path | Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    if isinstance(recipe, Mapping):
        return "recipe", recipe
    path = find_recipe(str(recipe))
    return (path.stem if path == Path(recipe) else str(recipe)), read_recipe(path)


def _folder(out: Path, recipe: CheckedRecipe, again: bool) -> Path:
    path = out / f"{recipe.name.replace('/', '-')}-{recipe.digest()}-s{recipe['seed']}"
    return free_path(path) if again else path


def _already_there(folder: RunFolder, say: Say) -> Result:
    result = folder.result()
    if result is None:
        with locked(folder.path):  # says so if the run is not unfinished but under way
            pass
        raise RunError(
            f"{folder.path} holds this run, unfinished; `logprob resume {folder.path}` takes it to its end, "
            "--again starts anew in a new folder"
        )
    if result.status == "diverged":
        raise DivergedError(f"{folder.path} diverged: {result.summary.get('reason')}")
    say(f"{folder.path} is finished; nothing was run (--again runs it in a new folder)")
    return result


def _prepare_again(
    folder: RunFolder,
    about: Mapping[str, Any],
    data_root: str | Path | None,
    device: str | None,
    imports: Sequence[str],
) -> Prepared:
    recipe = check_recipe(about["recipe"], read_recipe(folder.path / "recipe.yaml"), (), imports)
    root, place = data_root or about["data_root"] or about["folder"], device or about["device"]
    prepared = prepare(recipe, root, place, about.get("smoke", False))
    _refuse_other_data(folder, about, describe_data(prepared.dataset))
    return prepared


def _refuse_other_data(folder: RunFolder, about: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    if data["sha256"] != about["data"]["sha256"]:
        raise RunError(
            f"the data are not those that {folder.path} was started with (their SHA-256 differs); "
            "`logprob run ... --again` makes a new folder"
        )


def _fit_weights(load: Callable[[], object], folder: RunFolder) -> None:
    try:
        load()
    except (RuntimeError, KeyError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        reason = " ".join(str(error).split())
        raise RunError(
            f"the checkpoint does not fit {folder.path / 'recipe.yaml'}; was that changed? ({reason})"
        ) from None


def load_run(
    folder: RunFolder,
    checkpoint: str,
    data_root: str | Path | None,
    device: str | None,
    imports: Sequence[str],
) -> Prepared:
    """A run with the weights of a checkpoint, in evaluation mode."""
    about = folder.run()
    if about.get("study", False):
        raise RunError(f"{folder.path} is a study of several models; its numbers are in rows.csv and result.json")
    state = folder.load(checkpoint)
    prepared = _prepare_again(folder, about, data_root, device, imports)
    _fit_weights(lambda: prepared.model.load_state_dict(state["model"]), folder)
    prepared.model.eval()
    return prepared


def _train(folder: RunFolder, prepared: Prepared, fit: Fit, about: Mapping[str, Any], say: Say) -> Result:
    try:
        fit.run()
    except DivergedError as error:
        _finish(folder, prepared, fit, about, {"status": "diverged", "reason": str(error)})
        kept = "checkpoints/best" if fit.best.weights else "checkpoints/last"
        raise DivergedError(f"{error}; {folder.path} keeps {kept}") from None
    except KeyboardInterrupt:
        raise RunError(f"interrupted; `logprob resume {folder.path}` goes on from the last checkpoint") from None
    if not fit.best.weights:
        say(f"warning: valid {fit.monitor.metric} was never finite; the metrics are of the last weights")
        folder.save_best(best_state(fit))
    prepared.model.load_state_dict(best_state(fit)["model"])
    started = time.perf_counter()
    outcome: dict[str, Any] = {"status": "finished", "metrics": prepared.evaluate()}
    outcome["evaluate_seconds"] = time.perf_counter() - started
    outcome["sample_seconds"] = draw(folder, prepared, say)
    return _finish(folder, prepared, fit, about, outcome)


def _finish(
    folder: RunFolder, prepared: Prepared, fit: Fit, about: Mapping[str, Any], outcome: Mapping[str, Any]
) -> Result:
    if outcome["status"] == "diverged" and fit.best.weights:
        folder.save_best(best_state(fit))
    return folder.write_result(summarise(prepared, fit, about, outcome))


def draw(folder: RunFolder, prepared: Prepared, say: Say) -> dict[str, float] | None:
    """Draw what there is to see of a run whose model holds its best weights; a picture less is no failure.

    Returns:
        Seconds that a sample takes, if any was drawn.
    """
    try:
        return draw_run(folder, prepared, say)
    except (RunError, ValueError, RuntimeError, MemoryError) as error:
        say(f"warning: not all figures were drawn: {error}")
        return None
