"""What subtraction buys: factorised, monotonic and squared circuits on the same data, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table

from logprob.experiments.progress import show_progress
from logprob.experiments.results import Result
from logprob.experiments.runner import run
from logprob.experiments.tables import print_table

ARMS: Mapping[str, Mapping[str, Any]] = {
    "factorised": {"model.units": 1, "model.squared": False},
    "monotonic": {"model.squared": False},
    "squared": {"model.squared": True},
}
# All six runs together must stay within three minutes on two cores.
EPOCHS = {"npc2/digits": 60, "npc2/mring": 200}


def demo(out: str, say: Callable[[str], None], epochs: Mapping[str, int] = EPOCHS) -> int:
    """Train the arms on each data set by the recipes, and print one table.

    Args:
        out: folder of the runs; a run that is finished is not run again.
        say: takes lines for a person.
        epochs: epochs by recipe.

    Returns:
        The exit code, 0.
    """
    results: dict[tuple[str, str], Result] = {}
    for recipe, limit in epochs.items():
        for arm, changes in ARMS.items():
            with show_progress() as watcher:
                overrides = {**changes, "epochs": limit}
                results[recipe, arm] = run(recipe, overrides, out=out, watchers=[watcher], say=say)
    print_table("test log-likelihood of the best checkpoint", comparison(results))
    print("figures:")
    for (recipe, arm), result in results.items():
        print(f"  {recipe} {arm}: {result.folder / 'figures'}")
    return 0


def comparison(results: Mapping[tuple[str, str], Result]) -> Table:
    """One row per data set and arm."""
    table = Table()
    table.add_column("data")
    table.add_column("model")
    for name in ("nats (higher is better)", "bits per dim", "seconds", "parameters"):
        table.add_column(name, justify="right")
    for (_, arm), result in results.items():
        test, summary = result.metrics["test"], result.summary
        table.add_row(
            summary["data"]["name"],
            arm,
            f"{test['log_likelihood']:.3f} ± {test['log_likelihood_se']:.3f}",
            f"{test['bits_per_dim']:.3f}",
            f"{summary['timing']['train_seconds']:.1f}",
            str(summary["parameters"]),
            end_section=arm == list(ARMS)[-1],
        )
    return table
