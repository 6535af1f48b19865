"""Checkpoints: what they hold comes back to the bit, and damage is seen."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from logprob.experiments import RunError
from logprob.experiments.checkpoint import (
    checkpoint_names,
    latest_checkpoint,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from logprob.experiments.files import read_json, write_json
from logprob.experiments.packing import pack, unpack

STATE: dict[str, Any] = {
    "model": {"a.weight": torch.randn(3, 4), "empty": torch.zeros(0, 2), "flag": torch.tensor(True)},
    "half": torch.randn(5).bfloat16(),
    "optimizer": {
        "state": {0: {"step": torch.tensor(3.0)}, 1: {"step": 4}},
        "groups": [{"betas": (0.9, 0.999)}],
    },
    "numbers": [1, 0.1, math.inf, -math.inf, None, True, "text"],
    "view": torch.arange(10.0)[::2],
}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


def test_everything_comes_back(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "last", STATE)
    assert same(load_checkpoint(tmp_path, "last"), STATE)
    assert os.listdir(tmp_path) == ["last.safetensors"]


def test_tied_tensors_are_kept(tmp_path: Path) -> None:
    shared = torch.randn(3)
    save_checkpoint(tmp_path, "last", {"a": shared, "b": shared})
    assert same(load_checkpoint(tmp_path, "last"), {"a": shared, "b": shared})


def test_nan_comes_back() -> None:
    assert math.isnan(unpack(*pack([math.nan]))[0])


def test_what_cannot_be_kept_is_refused() -> None:
    with pytest.raises(TypeError, match="a/1: a checkpoint cannot hold a object"):
        pack({"a": [1, object()]})


def test_the_one_before_stays(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, "last", {"step": step}, keep="previous")
    assert load_checkpoint(tmp_path, "last") == {"step": 3}
    assert load_checkpoint(tmp_path, "previous") == {"step": 2}
    (tmp_path / "last.safetensors").unlink()  # as if killed between the two renames
    assert latest_checkpoint(tmp_path) == "previous"


@pytest.mark.parametrize("where", [0, 4, 20, 200, -40, -1])
def test_a_changed_byte_is_seen(tmp_path: Path, where: int) -> None:
    save_checkpoint(tmp_path, "last", STATE)
    save_checkpoint(tmp_path, "last", STATE, keep="previous")
    path = tmp_path / "last.safetensors"
    content = bytearray(path.read_bytes())
    content[where] ^= 0x15
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"last.safetensors is damaged.*intact: previous .use --checkpoint previous"):
        load_checkpoint(tmp_path, "last")


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, 0.999])
def test_a_truncated_file_is_seen(tmp_path: Path, keep: float) -> None:
    save_checkpoint(tmp_path, "last", STATE)
    path = tmp_path / "last.safetensors"
    size = path.stat().st_size
    os.truncate(path, int(keep * size if keep < 1 else keep))
    with pytest.raises(RunError, match=r"last\.safetensors is damaged: .*; no other is intact"):
        load_checkpoint(tmp_path, "last")


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "last.safetensors")
    with pytest.raises(ValueError, match="not a checkpoint"):
        read_checkpoint(tmp_path / "last.safetensors")


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, "last", {"step": 1}, keep="previous")
    save_checkpoint(tmp_path, "last", {"step": 2}, keep="previous")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"cannot write .*: No space left on device; what was there before is intact"):
        save_checkpoint(tmp_path, "last", {"step": 3}, keep="previous")
    assert load_checkpoint(tmp_path, "last") == {"step": 2}
    assert load_checkpoint(tmp_path, "previous") == {"step": 1}
    assert checkpoint_names(tmp_path) == ["last", "previous"]
    assert len(os.listdir(tmp_path)) == 2


def test_json_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": [math.nan, -math.inf, 1.5], "b": torch.tensor(2.0), "c": (1, None), 3: Path("x")})

    def refuse(name: str) -> None:
        raise AssertionError(name)

    values = json.loads(path.read_text(), parse_constant=refuse)
    assert values == {"a": ["nan", "-inf", 1.5], "b": 2.0, "c": [1, None], "3": "x"}
    assert float(values["a"][1]) == -math.inf


@pytest.mark.parametrize("text", ["", '{"a": ', "[1]", "\x00"])
def test_damaged_json_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(RunError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")
