"""Calling a function of one instance for many of them: one after the other, or in threads.

All backends keep the order, name the first instance that fails, and can be used again after a failure.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    def __call__(self, instances: Sequence[Instance], name: Name) -> Iterator[NDArray[Any]]:
        """The answers in the order of the instances, each to be copied before the next is asked for.

        Raises:
            RuntimeError: from the exception that the function raised, or if a worker process died.
            TimeoutError: if an instance took too long.
        """

    def close(self) -> None:
        """Stop the workers; the next call starts new ones."""
        return None


class Serial(Backend):
    """One instance after the other, in the thread that calls."""

    def __call__(self, instances: Sequence[Instance], name: Name) -> Iterator[NDArray[Any]]:
        """See the base class."""
        for index, (scores, others) in enumerate(instances):
            try:
                answer = np.asarray(self.function(scores, **others))
            except Exception as error:
                raise failed(name(index), error) from error
            yield answer


class Threads(Backend):
    """A contiguous chunk for each thread. Faster where the function gives up the interpreter's lock."""

    def __init__(self, function: Function, workers: int) -> None:
        super().__init__(function)
        self.workers = workers
        self.executor: ThreadPoolExecutor | None = None
        self.lock = threading.Lock()

    def __call__(self, instances: Sequence[Instance], name: Name) -> Iterator[NDArray[Any]]:
        """See the base class."""
        with self.lock:
            executor = self.executor = self.executor or ThreadPoolExecutor(self.workers, "solver")
        chunks = split(len(instances), self.workers)
        jobs = [executor.submit(self._solve, instances[chunk.start : chunk.stop], chunk.start) for chunk in chunks]
        return answers_of((outcome for job in jobs for outcome in job.result()), name)

    def _solve(self, instances: Sequence[Instance], start: int) -> list[NDArray[Any] | Failure]:
        return list(attempt(self.function, instances, start))

    def close(self) -> None:
        """See the base class."""
        with self.lock:
            executor, self.executor = self.executor, None
        if executor is not None:
            executor.shutdown()


def attempt(function: Function, instances: Sequence[Instance], start: int) -> Iterator[NDArray[Any] | Failure]:
    """Solve instances, of which the first has the index ``start``, up to the first failure."""
    for index, (scores, others) in enumerate(instances, start):
        try:
            yield np.array(function(scores, **others))  # a copy: the function may use its array again
        except Exception as error:
            yield Failure(index, error)
            return


def answers_of(outcomes: Iterable[NDArray[Any] | Failure], name: Name) -> Iterator[NDArray[Any]]:
    """The answers, up to the first failure, which is raised; it may have taken the place of all that follow it."""
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            raise failed(name(outcome.index), outcome.error) from outcome.error
        yield outcome


def failed(instance: str, error: Exception) -> RuntimeError:
    """What is raised when the function raised an exception."""
    return RuntimeError(f"{instance}: {type(error).__name__}: {error}")


def split(count: int, parts: int) -> list[range]:
    """Contiguous ranges of nearly equal length, none empty."""
    parts = min(count, parts)
    bounds = [count * part // parts for part in range(parts)] + [count]
    return [range(start, stop) for start, stop in pairwise(bounds)]
