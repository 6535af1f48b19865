"""What a person sees: a bar on a terminal, few lines elsewhere."""

from __future__ import annotations

import io
from typing import Any

from logprob.experiments.prepare import prepare
from logprob.experiments.progress import Lines, show_progress
from logprob.experiments.recipe import check_recipe


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def train(recipe: dict[str, Any], watcher: Any) -> None:
    prepare(check_recipe("tiny", recipe, (), ["tiny"])).fit([watcher]).run()


def test_a_bar_on_a_terminal(recipe: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr("logprob.experiments.progress._REFRESH", 0.0)
    stream = Terminal()
    with show_progress(stream=stream) as watcher:
        train(recipe, watcher)
    for part in ("epoch 2/2", "eta", "loss", "valid", "best"):
        assert part in stream.getvalue()


def test_nothing_elsewhere_in_a_short_run(recipe: dict[str, Any]) -> None:
    for stream, quiet in ((io.StringIO(), False), (Terminal(), True)):
        with show_progress(quiet, stream) as watcher:
            train(recipe, watcher)
        assert stream.getvalue() == ""


def test_a_line_now_and_then(recipe: dict[str, Any]) -> None:
    stream = io.StringIO()
    train(recipe, Lines(stream, every=0.0))
    first, second = stream.getvalue().splitlines()
    assert first.startswith("phase 0, epoch 1, step 3/6: loss ")
    assert "best" in second
