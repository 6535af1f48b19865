"""Imports point downwards only, and importing the package stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import logprob

SOURCE = Path(logprob.__file__).parent
ROOMS = {"circuits", "discrete", "energy", "flows", "simplex"}
BELOW = {
    "batch": set(),
    "distributions": set(),
    "transforms": set(),
    "nn": set(),
    "gradients": {"distributions"},
    "circuits": {"distributions", "transforms"},
    "flows": {"batch", "distributions", "transforms", "nn"},
    "simplex": {"batch", "distributions", "transforms", "gradients", "nn"},
    "discrete": {"batch", "distributions", "gradients", "nn"},
    "energy": {"batch", "distributions", "transforms", "nn"},
    "objectives": {"batch", "distributions", "transforms", "gradients"} | ROOMS,
    "data": {"batch", "distributions", "transforms"},  # no room: data know of no model
    "metrics": {"batch", "distributions", "transforms", "gradients"},
    "testing": {"batch", "discrete", "distributions", "transforms", "objectives"},
}
BELOW["estimators"] = set(BELOW) - {"testing"}
BELOW["experiments"] = set(BELOW)
ABOVE = ("estimators", "experiments")  # may import libraries that the rest does not need
HEAVY = ("lightning_fabric", "matplotlib", "sklearn", "yaml", "rich", "jsonargparse", "networkx", "pyro")


def imports_of(path):
    """Parts of the package that a file imports, wherever in the file the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module] if node.module != "logprob" else [f"logprob.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.split(".")[0] == "logprob" and "." in name:
                yield name.split(".")[1]


PARTS = sorted(p.stem for p in SOURCE.iterdir() if p.suffix in ("", ".py") and not p.stem.startswith("_"))


@pytest.mark.parametrize("part", [part for part in PARTS if part != "recipes"])
def test_imports_point_downwards(part):
    assert part in BELOW, f"say in this test what {part} may import"
    files = [SOURCE / f"{part}.py"] if (SOURCE / f"{part}.py").exists() else (SOURCE / part).rglob("*.py")
    for path in files:
        allowed = BELOW[part] | {part, "__version__"}
        wrong = sorted(set(imports_of(path)) - allowed)
        assert not wrong, f"{path.relative_to(SOURCE)} imports {wrong}; it may import {sorted(allowed)}"


def test_every_room_is_known():
    assert set(logprob.__all__) - {"__version__"} <= set(BELOW)


@pytest.mark.parametrize("module", ["logprob", *[f"logprob.{name}" for name in BELOW if name not in ABOVE]])
def test_importing_is_light(module):
    code = f"import {module}, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_submodules_load_on_first_use():
    code = "import logprob, sys; a = 'logprob.circuits' in sys.modules; logprob.circuits; print(a)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    with pytest.raises(AttributeError, match="it has: circuits"):
        logprob.nothing  # noqa: B018
