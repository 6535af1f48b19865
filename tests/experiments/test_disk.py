"""A full disk and a folder that cannot be written: a clear error, and nothing that was there is lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from logprob.experiments import RunError, resume, run
from logprob.experiments.checkpoint import load_checkpoint
from logprob.experiments.cli import main

TINY = ["tiny"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 512 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=20)


class FillsDisk:
    """Takes all the space that is left after some epochs, as another program might."""

    def __init__(self, folder: Path, epoch: int) -> None:
        self.path, self.epoch = folder / "ballast", epoch

    def on_step(self, fit: Any, loss: float) -> None:
        pass

    def on_epoch(self, fit: Any, record: Any) -> None:
        if fit.progress.epochs == self.epoch:
            with self.path.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"\0" * 512)
                except OSError:
                    pass

    def on_save(self, fit: Any) -> None:
        pass


def test_a_disk_that_fills_up(recipe: dict[str, Any], tmp_path: Path, small_disk: Path) -> None:
    recipe["phases"][0]["epochs"] = 6
    whole = run(recipe, out=tmp_path / "whole", imports=TINY)
    filler = FillsDisk(small_disk, 3)
    with pytest.raises(RunError, match="No space left on device"):
        run(recipe, out=small_disk, imports=TINY, watchers=[filler], checkpoint_every=0)
    (folder,) = (path for path in small_disk.iterdir() if path.is_dir())
    assert load_checkpoint(folder / "checkpoints", "last")["progress"]["epochs"] >= 2
    filler.path.unlink()
    assert resume(folder, imports=TINY).metrics == whole.metrics


def test_no_space_to_begin_with(recipe: dict[str, Any], small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(b"\0" * (512 * 1024 - 4096))
    with pytest.raises(RunError, match="No space left on device"):
        run(recipe, out=small_disk / "runs", imports=TINY)


def test_a_read_only_folder(recipe: dict[str, Any], small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from logprob.experiments.yaml_text import write_yaml

    done = run(recipe, out=small_disk, imports=TINY)
    (done.folder / "result.json").unlink()
    path = small_disk / "tiny.yaml"
    path.write_text(write_yaml(recipe))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True, timeout=20)
    before = {p: p.read_bytes() for p in small_disk.rglob("*") if p.is_file()}
    assert main(["run", str(path), "--import", "tiny", "--seed", "9", "--out", str(small_disk)]) == 1
    assert "Read-only file system" in capsys.readouterr().err
    assert main(["resume", str(done.folder), "--import", "tiny"]) == 1
    assert "Read-only file system" in capsys.readouterr().err
    assert before == {p: p.read_bytes() for p in small_disk.rglob("*") if p.is_file()}


def test_a_folder_without_permission(recipe: dict[str, Any], tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(RunError, match="Permission denied"):
        run(recipe, out=tmp_path / "locked", imports=TINY)


def test_a_file_in_place_of_the_folder(recipe: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("precious")
    with pytest.raises(RunError, match="cannot write"):
        run(recipe, out=tmp_path / "runs", imports=TINY)
    assert (tmp_path / "runs").read_text() == "precious"
