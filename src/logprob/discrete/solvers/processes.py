"""Calling a function of one instance for many of them, in processes."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from numpy.typing import NDArray

from logprob.discrete.solvers.pool import Backend, Failure, Function, Instance, Name, answers_of, attempt, split

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
START_HINT = (
    "a worker process died while it started, with exit code {code} (its own words are on stderr). Workers import the "
    "main module again, so what a script does must stand under `if __name__ == '__main__':`, and the function must be "
    "in a module or a script, not in a notebook or on standard input"
)


class Processes(Backend):
    """A contiguous chunk for each process. The processes are fresh interpreters and live from call to call.

    Every answer is sent back on its own, so it is known what a process was at when it hung or died.

    Args:
        function: of one instance; must be picklable.
        workers: number of processes.
        timeout: seconds that one instance may take; None: any time.
    """

    def __init__(self, function: Function, workers: int, timeout: float | None) -> None:
        super().__init__(function)
        self.size, self.timeout = workers, timeout
        self.workers: list[Worker] = []
        self.lock = threading.RLock()
        weakref.finalize(self, stop, self.workers, os.getpid())

    def __call__(self, instances: Sequence[Instance], name: Name) -> Iterator[NDArray[Any]]:
        """See the base class. After anything but a `Failure`, workers may be in the middle of something: none stays."""
        with self.lock:
            try:
                self._start()
                return answers_of(self._solve(instances, name), name)
            except BaseException:
                self.close()
                raise

    def _start(self) -> None:
        """Start the workers, unless all of them live."""
        if self.workers and all(worker.process.is_alive() for worker in self.workers):
            return
        self.close()
        for _ in range(self.size):
            self.workers.append(Worker(self.function))
        for worker in self.workers:
            worker.wait_until_ready()

    def _solve(self, instances: Sequence[Instance], name: Name) -> list[NDArray[Any] | Failure]:
        chunks = split(len(instances), len(self.workers))
        busy = {worker.connection: worker for worker in self.workers[: len(chunks)]}
        for worker, chunk in zip(busy.values(), chunks, strict=True):
            worker.give(instances, chunk, name)
        outcomes: dict[int, NDArray[Any] | Failure] = {}
        while busy:
            for connection in self._wait(list(busy.values()), name):
                worker = busy[connection]
                outcomes[worker.todo.start] = outcome = worker.receive(name)
                if isinstance(outcome, Failure) or not worker.todo:
                    del busy[connection]
        return [outcomes[index] for index in sorted(outcomes)]

    def _wait(self, busy: list[Worker], name: Name) -> list[Any]:
        """Connections on which something came, be it the end; none of the workers may be late."""
        first = min(busy, key=lambda worker: worker.since)
        left = None if self.timeout is None else max(0.0, first.since + self.timeout - time.monotonic())
        ready = wait([worker.connection for worker in busy], left)
        if self.timeout is not None and first.connection not in ready and first.age() >= self.timeout:
            raise TimeoutError(f"{name(first.todo.start)}: no answer within {self.timeout} s; all workers were killed")
        return ready

    def close(self) -> None:
        """See the base class."""
        with self.lock:
            stop(self.workers, os.getpid())


class Worker:
    """A process that solves what it is given.

    Attributes:
        todo: indices of the instances that it has not answered yet.
        since: when it began with the first of them.
    """

    def __init__(self, function: Function) -> None:
        context = get_context("spawn")  # a fork would copy locks that threads of torch may hold
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, function), daemon=True)
        self.todo, self.since = range(0), 0.0
        with single_threaded():
            self.process.start()
        theirs.close()

    def wait_until_ready(self) -> None:
        """Wait for the sign that the interpreter runs and has the function."""
        try:
            self.connection.recv_bytes()
        except (EOFError, OSError):
            raise RuntimeError(START_HINT.format(code=self._exit_code())) from None

    def give(self, instances: Sequence[Instance], chunk: range, name: Name) -> None:
        """Send the instances of a chunk."""
        self.todo = chunk
        try:
            self.connection.send_bytes(pickle.dumps((instances[chunk.start : chunk.stop], chunk.start)))
        except OSError:
            raise self._died(name) from None
        self.since = time.monotonic()

    def receive(self, name: Name) -> NDArray[Any] | Failure:
        """The next outcome."""
        try:
            packed = self.connection.recv_bytes()
        except (EOFError, OSError):
            raise self._died(name) from None
        self.todo, self.since = self.todo[1:], time.monotonic()
        outcome: NDArray[Any] | Failure = pickle.loads(packed)
        return outcome

    def age(self) -> float:
        """Seconds that it has been at its present instance."""
        return time.monotonic() - self.since

    def _died(self, name: Name) -> RuntimeError:
        return RuntimeError(f"{name(self.todo.start)}: its worker process died, with exit code {self._exit_code()}")

    def _exit_code(self) -> int | None:
        self.process.join(1.0)  # the connection may close a moment before the process ends
        return self.process.exitcode


def stop(workers: list[Worker], owner: int) -> None:
    """Kill the workers, if this is the process that started them and no fork of it."""
    while workers and os.getpid() == owner:
        worker = workers.pop()
        worker.process.kill()
        worker.process.join()
        worker.connection.close()


def serve(connection: Connection, function: Function) -> None:
    """What a worker process does: solve chunks until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits, which then ends this one
    connection.send_bytes(b"ready")
    while True:
        try:
            instances, start = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        for index, outcome in enumerate(attempt(function, instances, start), start):
            connection.send_bytes(pack(outcome, index))


def pack(outcome: NDArray[Any] | Failure, index: int) -> bytes:
    """Pickle an outcome; what cannot make the journey is put into words."""
    if isinstance(outcome, Failure):
        outcome.error.add_note("In the worker process:\n" + "".join(traceback.format_exception(outcome.error)))
    try:
        packed = pickle.dumps(outcome)
        pickle.loads(packed)  # an exception with arguments of its own can be written, but not be read
        return packed
    except Exception as error:
        words = outcome.error if isinstance(outcome, Failure) else error
        return pickle.dumps(Failure(index, RuntimeError(f"{type(words).__name__}: {words}")))


@contextmanager
def single_threaded() -> Iterator[None]:
    """Processes started meanwhile use one thread each: there are as many processes as processors already.

    Libraries read these variables when they are loaded, which is before a worker runs any code of ours.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
