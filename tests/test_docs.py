"""What the documentation shows is true: code runs, recipes train, commands are accepted, links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

import logprob
from logprob import experiments
from logprob.experiments import cli, recipe, runner

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
    if "_build" not in path.parts
)


class Block(NamedTuple):
    """A fenced block: the words after the fence, its text, and the number of lines above it."""

    info: list[str]
    text: str
    line: int


def blocks(page: Path, language: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"^```(\w[^\n`]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        info = match[1].split()
        if info[0] == language and "notest" not in info[1:]:
            found.append(Block(info, match[2], text.count("\n", 0, match.start(2))))
    return found


def having(language: str) -> Any:
    pages = [page for page in PAGES if blocks(page, language)]
    return pytest.mark.parametrize("page", pages, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """An empty folder with the one file that the pages speak of, and a runner that stops after two steps."""
    monkeypatch.chdir(tmp_path)
    np.savetxt(tmp_path / "measurements.csv.gz", np.random.RandomState(0).randn(50, 3), delimiter=",")
    run = experiments.run

    def short_run(name, overrides=(), **options):
        pairs = list(overrides.items()) if isinstance(overrides, dict) else list(overrides)
        return run(name, [*pairs, ("epochs", None), ("steps", 2)], **options)

    monkeypatch.setattr(experiments, "run", short_run)
    return tmp_path


@having("python")
def test_python_runs(page, desk, monkeypatch):
    """All blocks of a page are one module, at the lines that they have on the page."""
    source = ""
    for block in blocks(page, "python"):
        source += "\n" * (block.line - source.count("\n")) + block.text
    name = f"page_{page.stem.lower()}"
    file = desk / f"{name}.py"
    file.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # what the page defines can be pickled
    spec.loader.exec_module(module)


@having("yaml")
def test_recipes_train(page, desk):
    for number, block in enumerate(blocks(page, "yaml")):
        values = yaml.safe_load(block.text)
        result = experiments.run(values, {}, out=desk / str(number))
        assert result.status == "finished"


class _AcceptedError(Exception):
    """A command got as far as training."""


@having("console")
def test_commands_are_accepted(page, monkeypatch, capsys):
    """Those on shipped recipes: names, keys and types are checked, nothing is trained."""

    def check_only(name, overrides, *, imports, **options):
        recipe.check_recipe(name, recipe.read_recipe(recipe.find_recipe(name)), overrides, imports)
        raise _AcceptedError

    monkeypatch.setattr(runner, "run", check_only)
    lines = [line for block in blocks(page, "console") for line in block.text.splitlines()]
    for line in lines:
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words[:1] != ["logprob"]:
            continue
        if words[1] == "run" and words[2] in recipe.recipe_names():
            with pytest.raises(_AcceptedError):
                cli.main(words[1:])
        elif words[1] in ("list", "show"):
            assert cli.main(words[1:]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing


@pytest.mark.parametrize("part", [name for name in logprob.__all__ if name != "__version__"])
def test_reference_is_complete(part):
    text = (ROOT / "docs" / "reference" / f"{part}.rst").read_text(encoding="utf-8")
    if f".. automodule:: logprob.{part}\n   :members:" in text:
        return
    names = getattr(logprob, part).__all__
    missing = [name for name in names if not re.search(rf":: (?:[\w.]+\.)?{name}$", text, re.MULTILINE)]
    assert not missing
