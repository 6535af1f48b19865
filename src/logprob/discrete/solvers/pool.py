"""Calling a function of one instance for many of them: one after the other, or in threads.

All backends keep the order, name the first instance that fails, and can be used again after a failure.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Function = Callable[..., Any]
Instance = tuple[NDArray[Any], dict[str, Any]]  # scores, and what else the function is given by name
Name = Callable[[int], str]  # what an error calls an instance


@dataclass(frozen=True)
class Failure:
    """An exception that the function raised."""

    index: int
    error: Exception


class Backend(ABC):
    """Calls one function for the instances of a batch.

    Args:
        function: of one instance.
    """

    def __init__(self, function: Function) -> None:
        self.function = function

    @abstractmethod
    def outcomes(self, instances: Sequence[Instance], name: Name) -> Iterable[NDArray[Any] | Failure]:
        """Answers and failures in the order of the instances; a failure may take the place of all that follow it."""

    def __call__(self, instances: Sequence[Instance], name: Name) -> Iterator[NDArray[Any]]:
        """The answers, each to be copied before the next is asked for.

        Raises:
            RuntimeError: from the exception that the function raised, or if a worker process died.
            TimeoutError: if an instance took too long.
        """
        for outcome in self.outcomes(instances, name):
            if isinstance(outcome, Failure):
                error = outcome.error
                raise RuntimeError(f"{name(outcome.index)}: {type(error).__name__}: {error}") from error
            yield outcome

    def close(self) -> None:
        """Stop the workers; the next call starts new ones."""
        return None


class Serial(Backend):
    """One instance after the other, in the thread that calls."""

    def outcomes(self, instances: Sequence[Instance], name: Name) -> Iterator[NDArray[Any] | Failure]:
        """See the base class."""
        return attempt(self.function, instances, 0)


class Threads(Backend):
    """A contiguous chunk for each thread. Faster where the function gives up the interpreter's lock."""

    def __init__(self, function: Function, workers: int) -> None:
        super().__init__(function)
        self.workers = workers
        self.executor: ThreadPoolExecutor | None = None
        self.lock = threading.Lock()

    def outcomes(self, instances: Sequence[Instance], name: Name) -> Sequence[NDArray[Any] | Failure]:
        """See the base class."""
        with self.lock:
            executor = self.executor = self.executor or ThreadPoolExecutor(self.workers, "solver")
        chunks = split(len(instances), self.workers)
        jobs = [executor.submit(self._solve, instances[chunk.start : chunk.stop], chunk.start) for chunk in chunks]
        return [outcome for job in jobs for outcome in job.result()]

    def _solve(self, instances: Sequence[Instance], start: int) -> list[NDArray[Any] | Failure]:
        return [copy(outcome) for outcome in attempt(self.function, instances, start)]

    def close(self) -> None:
        """See the base class."""
        with self.lock:
            executor, self.executor = self.executor, None
        if executor is not None:
            executor.shutdown()


def attempt(function: Function, instances: Sequence[Instance], start: int) -> Iterator[NDArray[Any] | Failure]:
    """Solve instances, of which the first has the index ``start``, up to the first failure.

    Answers are not copied: a function may use its array again for the next one.
    """
    for index, (scores, others) in enumerate(instances, start):
        try:
            outcome = np.asarray(function(scores, **others))
        except Exception as error:
            yield Failure(index, error)
            return
        yield outcome


def split(count: int, parts: int) -> list[range]:
    """Contiguous ranges of nearly equal length, none empty."""
    parts = min(count, parts)
    bounds = [count * part // parts for part in range(parts)] + [count]
    return [range(start, stop) for start, stop in pairwise(bounds)]
