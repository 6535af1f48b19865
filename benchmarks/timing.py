"""CPU time of several steps that take turns in one process, so that a busy machine slows all alike."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

Step = Callable[[], object]
Turns = dict[str, list[float]]


def take_turns(steps: Mapping[str, Step], rounds: int = 7, repeats: int = 1, warm_up: int = 1) -> Turns:
    """Milliseconds of process CPU time of each step: the median of ``repeats`` calls, one number a round."""
    for step in steps.values():
        for _ in range(warm_up):
            step()
    turns: Turns = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            turns[name].append(statistics.median(_milliseconds(step) for _ in range(repeats)))
    return turns


def _milliseconds(step: Step) -> float:
    started = time.process_time()
    step()
    return 1e3 * (time.process_time() - started)


def ratio(turns: Turns, name: str, other: str) -> str:
    """Ratio of the medians, with the lowest and the highest ratio of a single round."""
    each = [a / b for a, b in zip(turns[name], turns[other], strict=True)]
    middle = statistics.median(turns[name]) / statistics.median(turns[other])
    return f"{middle:.2f} ({min(each):.2f} to {max(each):.2f})"


def processor() -> str:
    """Name of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
