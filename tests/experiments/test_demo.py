"""The demonstration: three models on two data sets, one table."""

from __future__ import annotations

from pathlib import Path

import pytest

from logprob.experiments.demo import ARMS, demo


def test_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logprob.experiments.runner.draw", lambda *arguments: None)
    said: list[str] = []
    assert demo(str(tmp_path), said.append, {"npc2/digits": 1, "npc2/mring": 1}) == 0
    out = capsys.readouterr().out
    for arm in ARMS:
        assert out.count(arm) >= 2
    rows = [line.split("│") for line in out.splitlines() if line.startswith("│")]
    parameters = {(row[1].strip(), row[2].strip()): int(row[6]) for row in rows}
    assert parameters["mring", "squared"] == parameters["mring", "monotonic"] > parameters["mring", "factorised"]
    assert len(list(tmp_path.iterdir())) == 6
    assert str(tmp_path) in out
