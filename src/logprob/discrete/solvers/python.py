"""Any Python function of one instance as a solver."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from logprob.discrete.solvers.answers import flatten_batch
from logprob.discrete.solvers.base import Solver
from logprob.discrete.solvers.cache import AnswerCache
from logprob.discrete.solvers.pool import Backend, Instance, Name, Serial, Threads
from logprob.discrete.solvers.processes import Processes
from logprob.discrete.solvers.refusal import check_scores, name_instance


@dataclass(frozen=True)
class SolverStatistics:
    """What a `PythonSolver` has done in this process.

    Attributes:
        calls: batches that were solved, at least in part.
        solved: instances for which the function was called.
        cached: instances whose answer was known.
        seconds: wall time of solving them.
    """

    calls: int = 0
    solved: int = 0
    cached: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class PythonSolver(Solver):
    """``function(scores, **instance)`` for each instance: networkx, scipy, OR-tools, or a loop by hand.

    The function sees the scores of *one* instance as a NumPy array of shape ``event``, float32 or float64, which it may
    change, and gives an array of that shape, of numbers or booleans. For the same scores it must always give the same
    answer. Instance tensors with the batch shape in front are cut up: the function sees its part, as a NumPy array;
    everything else is passed as it is.

    Workers are started at the first call and kept. Each gets one contiguous part of the batch. The solver can be
    pickled and copied, and used in forks, in other threads and in the backward pass; copies have workers and counters
    of their own. `close`, or a ``with`` block, ends the workers, as does the end of the program.

    With ``backend="processes"`` the workers are fresh interpreters, with one thread each for the libraries that they
    use. The function must be picklable, so defined at the top of a module. What a script does must stand under
    ``if __name__ == "__main__":``, as the workers import the script again. Starting them takes seconds, once.

    Args:
        function: of one instance.
        event_dim: dimensions of the scores of one instance.
        maximize: False if the function minimises ``<z, scores>``.
        backend: one instance after the other, or in threads, which helps where the function gives up the interpreter's
            lock, or in processes.
        workers: threads or processes; the number of processors by default.
        timeout: seconds that one instance may take, only for processes: a thread cannot be stopped.
        cache: number of answers that are kept, 0 for none; see `AnswerCache`.
        binary: whether every entry of z must be 0 or 1; otherwise it must be finite.

    Raises:
        ValueError: if an argument is out of range; if the function cannot be pickled for processes; if an answer has a
            wrong shape, type or value.
        RuntimeError: if the function raises an exception, from which it is raised, or if a worker process dies.
        TimeoutError: if an instance takes too long. The workers are killed; the next call starts new ones.
            All of these name the instance.

    Example:
        A maximum spanning tree by networkx, of the scores of a triangle's edges 01, 02, 12.

        >>> import networkx
        >>> def spanning_tree(scores, edges):
        ...     graph = networkx.Graph()
        ...     for index, (edge, score) in enumerate(zip(edges, scores)):
        ...         graph.add_edge(*edge, weight=score, index=index)
        ...     z = np.zeros_like(scores)
        ...     for *_, edge in networkx.maximum_spanning_edges(graph):
        ...         z[edge["index"]] = 1
        ...     return z
        >>> scores = torch.tensor([[3.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
        >>> PythonSolver(spanning_tree)(scores, edges=[(0, 1), (0, 2), (1, 2)])
        tensor([[1., 0., 1.],
                [0., 1., 1.]])

        A knapsack by scipy, with its own capacity for each instance.

        >>> from scipy.optimize import Bounds, LinearConstraint, milp
        >>> def knapsack(scores, weights, capacity):
        ...     fits = LinearConstraint(weights, ub=capacity)
        ...     return milp(-scores, constraints=fits, integrality=np.ones_like(scores), bounds=Bounds(0, 1)).x.round()
        >>> with PythonSolver(knapsack, backend="threads", workers=2) as solver:
        ...     solver(scores, weights=np.array([2, 1, 2]), capacity=torch.tensor([3, 4]))
        tensor([[1., 1., 0.],
                [0., 1., 1.]])
    """

    function: Callable[..., Any]
    event_dim: int = 1
    maximize: bool = True
    backend: Literal["serial", "threads", "processes"] = "serial"
    workers: int | None = None
    timeout: float | None = None
    cache: int = 0
    binary: bool = True  # type: ignore[misc]  # other solvers know it of their class, this one is told
    _state: _State = field(init=False, repr=False, compare=False)

    in_torch: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.backend not in ("serial", "threads", "processes"):
            raise ValueError(f"expected the backend serial, threads or processes, got {self.backend!r}")
        if (self.workers is not None and self.workers < 1) or self.cache < 0 or self.event_dim < 0:
            got = f"{self.workers}, {self.cache} and {self.event_dim}"
            raise ValueError(f"expected workers >= 1, cache >= 0 and event_dim >= 0, got {got}")
        if self.timeout is not None and (self.backend != "processes" or self.timeout <= 0):
            raise ValueError(f"expected a timeout > 0 and processes, got {self.timeout} and {self.backend}")
        if self.backend == "processes":
            _check_picklable(self.function)
        object.__setattr__(self, "_state", _State(self))

    def __call__(self, scores: Tensor, **instance: Any) -> Tensor:
        """Solve every instance; see the class. A compiler does not look into it."""
        check_scores(self, scores, self.event_dim, ())
        solve = torch.compiler.disable(self._solve) if torch.compiler.is_compiling() else self._solve
        return solve(scores, instance)

    def _solve(self, scores: Tensor, instance: dict[str, Any]) -> Tensor:
        batch = scores.shape[: scores.dim() - self.event_dim]

        def name(index: int) -> str:
            return name_instance([int(i) for i in np.unravel_index(index, batch)] if batch else ())

        if not batch.numel():
            return torch.zeros_like(scores)
        flat, rows, shared = flatten_batch(scores, self.event_dim, instance)
        z = self._present_state().solve(_cut(_to_numpy(flat), rows, shared), name)
        return torch.from_numpy(z).reshape(scores.shape).to(scores)

    def statistics(self) -> SolverStatistics:
        """Calls, instances and seconds up to now, in this process."""
        return self._present_state().statistics

    def close(self) -> None:
        """End the workers. A later call starts new ones."""
        self._present_state().backend.close()

    def _present_state(self) -> _State:
        """The state of this process: in a fork, the workers of the parent are not its own, and locks may be held."""
        if self._state.process != os.getpid():
            object.__setattr__(self, "_state", _State(self))
        return self._state

    def __enter__(self) -> PythonSolver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[PythonSolver], tuple[Any, ...]]:
        return type(self), tuple(getattr(self, argument.name) for argument in fields(self) if argument.init)


class _State:
    """What changes while a solver is used: workers, known answers, counters."""

    def __init__(self, solver: PythonSolver) -> None:
        self.process = os.getpid()
        self.backend = _backend(solver)
        self.cache = AnswerCache(solver.cache)
        self.binary = solver.binary
        self.statistics = SolverStatistics()
        self.lock = threading.Lock()

    def solve(self, instances: list[Instance], name: Name) -> NDArray[Any]:
        """Look up or solve. A batch of which one answer is not as it should be is not kept."""
        if not self.cache.size:
            return self._ask(instances, name)
        keys = [self.cache.key(instance) for instance in instances]
        answers = {index: answer for index, key in enumerate(keys) if (answer := self.cache.get(key)) is not None}
        unknown = [index for index in range(len(instances)) if index not in answers]
        self._count(cached=len(answers))
        if unknown:
            new = self._ask([instances[index] for index in unknown], lambda index: name(unknown[index]))
            for index, answer in zip(unknown, new, strict=True):
                answers[index] = answer.copy()  # a row would keep the others in memory
                self.cache.put(keys[index], answers[index])
        return np.stack([answers[index] for index in range(len(instances))])

    def _ask(self, instances: list[Instance], name: Name) -> NDArray[Any]:
        """Answers of the function, checked, in the type of the scores."""
        started = time.perf_counter()
        scores, _ = instances[0]
        try:
            z = _stack(self.backend(instances, name), np.zeros((len(instances), *scores.shape), scores.dtype), name)
        finally:
            self._count(calls=1, solved=len(instances), seconds=time.perf_counter() - started)
        _check_values(z, self.binary, name)
        return z.astype(scores.dtype, copy=False)

    def _count(self, calls: int = 0, solved: int = 0, cached: int = 0, seconds: float = 0.0) -> None:
        with self.lock:
            old = self.statistics
            self.statistics = SolverStatistics(
                old.calls + calls, old.solved + solved, old.cached + cached, old.seconds + seconds
            )


def _backend(solver: PythonSolver) -> Backend:
    workers = solver.workers or _processors()
    if solver.backend == "processes":
        return Processes(solver.function, workers, solver.timeout)
    return Threads(solver.function, workers) if solver.backend == "threads" else Serial(solver.function)


def _processors() -> int:
    """How many this process may use, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_picklable(function: Callable[..., Any]) -> None:
    try:
        pickle.dumps(function)
    except Exception as error:
        raise ValueError(
            f"expected a function that can be pickled, so one from the top of a module, for processes, got {function}"
        ) from error


def _cut(scores: NDArray[Any], rows: dict[str, Tensor], shared: dict[str, Any]) -> list[Instance]:
    """Arrays of each instance."""
    if not rows:
        return [(row, shared) for row in scores]
    arrays = {name: _to_numpy(tensor) for name, tensor in rows.items()}
    return [(row, {**{name: array[i] for name, array in arrays.items()}, **shared}) for i, row in enumerate(scores)]


def _to_numpy(tensor: Tensor) -> NDArray[Any]:
    """A copy, which functions may change; half precisions, of which solvers know nothing, become float32."""
    tensor = tensor.cpu()
    half = tensor.dtype in (torch.bfloat16, torch.float16)
    return np.array((tensor.float() if half else tensor).numpy())


def _stack(answers: Iterator[NDArray[Any]], z: NDArray[Any], name: Name) -> NDArray[Any]:
    """All answers in z, or in an array of a wider type if they have one: they are checked before they are rounded."""
    shape = z.shape[1:]
    for index, answer in enumerate(answers):
        if answer.shape != shape or answer.dtype.kind not in "biuf":
            got = f"shape {answer.shape} and type {answer.dtype}"
            raise ValueError(f"{name(index)}: expected an array of numbers of shape {shape}, got {got}")
        if answer.dtype != z.dtype:
            z = z.astype(np.promote_types(z.dtype, answer.dtype), copy=False)
        z[index] = answer
    return z


def _check_values(z: NDArray[Any], binary: bool, name: Name) -> None:
    """All instances at once: there may be thousands of small ones."""
    right = (z == 0) | (z == 1) if binary else np.isfinite(z)
    if not right.all():
        index, *entry = np.argwhere(~right)[0].tolist()
        wanted = "0 or 1" if binary else "a finite number"
        raise ValueError(f"{name(index)}: expected {wanted} at entry {entry}, got {z[(index, *entry)]}")
