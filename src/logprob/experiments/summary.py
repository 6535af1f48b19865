"""What is written about a run: ``run.json`` before training, ``result.json`` at the end."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from logprob.experiments.fit import Fit
from logprob.experiments.prepare import Prepared
from logprob.experiments.versions import versions

DROPPED = 100  # updates left out of the timing at either end of a long run


def announce(
    recipe: str,
    seed: int,
    data: Mapping[str, Any],
    device: str,
    data_root: str | Path | None,
    smoke: bool,
    published: bool,
) -> dict[str, Any]:
    """What is written before training starts."""
    return {
        "recipe": recipe,
        "seed": seed,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "data_root": None if data_root is None else str(Path(data_root).resolve()),
        "folder": os.getcwd(),  # relative paths in the recipe start here
        "smoke": smoke,
        "published": published,
        "data": data,
        "versions": versions(),
    }


def summarise(prepared: Prepared, fit: Fit, about: Mapping[str, Any], outcome: Mapping[str, Any]) -> dict[str, Any]:
    """What is written when it has ended.

    Args:
        prepared: the run.
        fit: its training.
        about: what was written before.
        outcome: status, metrics or reason, and under names that end in ``_seconds`` what took how long.
    """
    progress, best = fit.progress, fit.best
    took = {key: value for key, value in outcome.items() if key.endswith("_seconds")}
    timing = {
        "train_seconds": progress.seconds,
        "evaluate_seconds": took.pop("evaluate_seconds", None),
        **batch_seconds(fit.batch_seconds),
        **{key: value for key, value in took.items() if value},
        "started": about["started"],
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return {key: value for key, value in outcome.items() if not key.endswith("_seconds")} | {
        "recipe": about["recipe"],
        "title": prepared.recipe["title"],
        "published": about.get("published", False),
        "seed": prepared.recipe["seed"],
        "parameters": sum(parameter.numel() for parameter in prepared.model.parameters()),
        "best": {"phase": best.phase, "epoch": best.epoch},
        "epochs": progress.epochs,
        "steps": progress.steps,
        "phases_ended_by": progress.endings,
        "device": str(prepared.device),
        "dtype": prepared.recipe["dtype"],
        "timing": timing,
        "data": about["data"],
        "versions": versions(),
        "command": about["command"],
    }


def batch_seconds(seconds: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation of the time of an update, of a long run without the start and the end.

    Example:
        >>> batch_seconds([9.0] * 100 + [1.0] * 100 + [9.0] * 100)
        {'batch_seconds_mean': 1.0, 'batch_seconds_std': 0.0}
    """
    kept = np.asarray(seconds if len(seconds) < 3 * DROPPED else seconds[DROPPED:-DROPPED])
    return {"batch_seconds_mean": float(kept.mean()), "batch_seconds_std": float(kept.std())} if len(kept) else {}
