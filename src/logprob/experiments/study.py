"""Run a study: its cells one after the other, its table and its figures; and go on with one that was cut off."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from logprob.experiments.errors import RecipeError, RunError
from logprob.experiments.figures.canvas import save
from logprob.experiments.files import locked, to_json, write_atomically, writing
from logprob.experiments.recipe import CheckedRecipe
from logprob.experiments.results import Result, RunFolder
from logprob.experiments.seeding import seed_everything
from logprob.experiments.studies import Cell, Study, Workbench
from logprob.experiments.versions import versions

Say = Callable[[str], None]


def run_cells(
    folder: RunFolder, recipe: CheckedRecipe, about: Mapping[str, Any], data_root: str | Path | None, say: Say
) -> Result:
    """Run the cells of a study that its folder does not hold yet, and put all of them together.

    Args:
        folder: of the study, made.
        recipe: of the study.
        about: what ``run.json`` says.
        data_root: folder of data files.
        say: takes lines for a person.

    Raises:
        RunError: if cells failed; the others are kept, and `resume` tries those again.
    """
    study: Study = recipe.node.build().study
    seed = recipe["seed"]
    bench = Workbench(folder.path / "cells", seed, data_root, about["device"], about["smoke"])
    cells = cells_of(study, seed)
    with locked(folder.path):
        with writing(bench.folder):
            bench.folder.mkdir(exist_ok=True)
        done = {record["cell"]: record for record in finished_cells(folder)}
        failed = {}
        for number, cell in enumerate(cells, 1):
            if cell.name in done:
                continue
            try:
                record = _run_cell(study, cell, bench)
            except (ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
                failed[cell.name] = " ".join(str(error).split()) or type(error).__name__
                say(f"cell {number}/{len(cells)} {cell.name} failed: {failed[cell.name]}")
                continue
            except KeyboardInterrupt:
                raise RunError(f"interrupted; `logprob resume {folder.path}` goes on with the next cell") from None
            folder.append_metrics(record)
            done[cell.name] = to_json(record)
            say(f"cell {number}/{len(cells)} {cell.name}: {record['seconds']:.1f} s")
        if failed:
            name, reason = next(iter(failed.items()))
            raise RunError(
                f"{len(failed)} of {len(cells)} cells failed, the first is {name} ({reason}); "
                f"{folder.path} keeps the others, `logprob resume {folder.path}` tries again"
            )
        return _finish(folder, recipe, study, [done[cell.name] for cell in cells], about, say)


def cells_of(study: Study, seed: int) -> Sequence[Cell]:
    """The cells of a study.

    Raises:
        RecipeError: if it has none, or two of one name.
    """
    cells = study.cells(seed)
    names = [cell.name for cell in cells]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RecipeError(f"study: two cells are named {twice!r}; give the methods different names")
    if not cells:
        raise RecipeError("study: there is nothing to run; a list of settings is empty")
    return cells


def finished_cells(folder: RunFolder) -> Iterator[dict[str, Any]]:
    """What the cells said that ended; the rest of a line that was cut off is dropped from the file."""
    content = folder.metrics_file.read_bytes() if folder.metrics_file.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        folder.truncate_metrics(len(whole))
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            yield json.loads(line)
        except ValueError:
            raise RunError(f"{folder.metrics_file} is damaged (line {number} is no JSON object)") from None


def _run_cell(study: Study, cell: Cell, bench: Workbench) -> dict[str, Any]:
    seed_everything(bench.seed)  # so that no cell depends on those before it
    started = time.perf_counter()
    rows = [{**cell.settings, **row} for row in study.run(cell, bench)]
    return {"cell": cell.name, "rows": rows, "seconds": time.perf_counter() - started}


def _finish(
    folder: RunFolder,
    recipe: CheckedRecipe,
    study: Study,
    records: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
    say: Say,
) -> Result:
    rows = [row for record in records for row in record["rows"]]
    write_atomically(folder.path / "rows.csv", rows_csv(rows).encode())
    for name, draw in study.drawings(rows).items():
        try:
            save(draw(), folder.figures / name)
        except (ValueError, RuntimeError) as error:  # a picture less is no failure
            say(f"warning: {name} was not drawn: {' '.join(str(error).split())}")
    return folder.write_result(
        {
            "status": "finished",
            "metrics": study.table(rows),
            "recipe": about["recipe"],
            "title": recipe["title"],
            "published": about["published"],
            "seed": recipe["seed"],
            "cells": len(records),
            "protocol": _said(rows, "scored", "selection"),
            "parameters": None,  # a study has several models, and no epochs of its own
            "epochs": None,
            "device": about["device"],
            "timing": {
                "train_seconds": sum(record["seconds"] for record in records),
                "started": about["started"],
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            },
            "data": {row["data"]: row["data_sha256"] for row in rows if "data" in row},
            "versions": versions(),
            "command": about["command"],
        }
    )


def _said(rows: Sequence[Mapping[str, Any]], *names: str) -> dict[str, Any]:
    """What all rows say of what was scored and how it was chosen: one value, or the sorted list of them."""
    said = {}
    for name in names:
        values = sorted({str(row[name]) for row in rows if name in row})
        if values:
            said[name] = values[0] if len(values) == 1 else values
    return said


def rows_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a table with a head, for a spreadsheet or a data frame.

    Example:
        >>> print(rows_csv([{"method": "a", "mcc": 0.5}, {"method": "b", "seconds": 2}]), end="")
        method,mcc,seconds
        a,0.5,
        b,,2
    """
    text = io.StringIO()
    head = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, head, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
