"""Functions of one instance, in this process, in threads and in worker processes: order, failures, copies."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from python_solvers import (
    assignment,
    largest,
    largest_of_allowed,
    moody,
    sleepy,
    spanning_tree,
    threads,
)

from logprob.discrete.solvers.python import PythonSolver
from logprob.discrete.solvers.spanning_tree import SpanningTree

BACKENDS = ("serial", "threads", "processes")


@pytest.fixture(scope="module")
def moods():
    """One solver a backend; failures must not hurt the tests that come after."""
    solvers = {name: PythonSolver(moody, backend=name, workers=2) for name in BACKENDS}
    yield solvers
    for solver in solvers.values():
        solver.close()


def good(rows=8):
    return torch.rand(rows, 3) + 1


def expected(scores):
    return torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)


@pytest.mark.parametrize("backend", BACKENDS)
def test_order_is_kept_under_random_sleeping(backend):
    scores = torch.rand(2, 30, 4).double()
    with PythonSolver(sleepy, backend=backend, workers=3) as solver:
        assert torch.equal(solver(scores), expected(scores))
        assert torch.equal(solver(scores[0, :2]), expected(scores[0, :2]))  # fewer instances than workers


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_shapes_types_and_instances(batch, dtype):
    scores = torch.randn(*batch, 5, dtype=dtype, requires_grad=True)
    allowed = torch.rand(*batch, 5) < 0.5
    allowed[..., 0] = True
    z = PythonSolver(largest_of_allowed)(scores, allowed=allowed, bonus=1.0)
    assert z.dtype == dtype
    assert not z.requires_grad
    assert torch.equal(z, expected(scores.detach().masked_fill(~allowed, -torch.inf)))


def test_the_function_may_change_its_arguments_and_use_its_array_again():
    buffer = np.zeros(3, dtype=np.float32)

    def rude(scores):
        buffer[:] = largest(scores)
        scores[:] = 0
        return buffer

    scores = good()
    before = scores.clone()
    assert torch.equal(PythonSolver(rude)(scores), expected(before))
    assert torch.equal(scores, before)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("mood", "error", "said"),
    [
        (-1, RuntimeError, "ZeroDivisionError: no answer today"),
        (-4, RuntimeError, "Odd: this and that"),
        (-5, ValueError, r"numbers of shape \(3,\), got shape \(2,\)"),
        (-6, ValueError, r"got shape \(3,\) and type <U1"),
        (-7, ValueError, r"expected 0 or 1 at entry \[0\], got -3.5"),
        (-8, ValueError, r"expected 0 or 1 at entry \[0\], got nan"),
        (-9, (RuntimeError, ValueError), "type object"),
    ],
)
def test_the_first_wrong_instance_is_named(moods, backend, mood, error, said):
    scores = good()
    scores[5, 0] = scores[7, 0] = mood
    with pytest.raises(error, match=f"instance 5: .*{said}"):
        moods[backend](scores)
    with pytest.raises(error, match=r"instance \(2, 1\): "):
        moods[backend](scores.reshape(4, 2, 3))
    scores = good()
    assert torch.equal(moods[backend](scores), expected(scores))


@pytest.mark.parametrize("backend", BACKENDS)
def test_exceptions_are_chained(moods, backend):
    scores = good()
    scores[2, 0] = -1
    with pytest.raises(RuntimeError) as caught:
        moods[backend](scores)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    if backend == "processes":
        assert "python_solvers.py" in caught.value.__cause__.__notes__[0]  # where it happened


def test_a_hang():
    with PythonSolver(moody, backend="processes", workers=2, timeout=1.0) as solver:
        solver(good())
        workers = [worker.process.pid for worker in solver._state.backend.workers]
        scores = good()
        scores[6, 0] = -2
        started = time.monotonic()
        with pytest.raises(TimeoutError, match=r"instance 6: no answer within 1.0 s; all workers were killed"):
            solver(scores)
        assert time.monotonic() - started < 10
        for worker in workers:
            with pytest.raises(ProcessLookupError):
                os.kill(worker, 0)
        scores = good()
        assert torch.equal(solver(scores), expected(scores))


def test_a_worker_that_dies():
    with PythonSolver(moody, backend="processes", workers=2) as solver:
        scores = good()
        scores[5, 0] = -3
        with pytest.raises(RuntimeError, match="instance 5: its worker process died, with exit code 7"):
            solver(scores)
        scores = good()
        assert torch.equal(solver(scores), expected(scores))
        os.kill(solver._state.backend.workers[0].process.pid, signal.SIGKILL)  # while it has nothing to do
        time.sleep(0.2)
        assert torch.equal(solver(scores), expected(scores))


def test_workers_have_one_thread_and_live_on():
    def of_four():
        rows = solver(torch.zeros(4, 3, dtype=torch.float64))
        return {int(row[0]) for row in rows}, rows[:, 1:]

    before = dict(os.environ)
    with PythonSolver(threads, backend="processes", workers=2, binary=False) as solver:
        (first, rows), (second, _) = of_four(), of_four()
    assert (rows == 1).all()
    assert first == second
    assert len(first) == 2
    assert os.getpid() not in first
    assert dict(os.environ) == before


class Layer(torch.autograd.Function):
    """Solves in the backward pass."""

    @staticmethod
    def forward(ctx, scores, solver):
        ctx.save_for_backward(scores)
        ctx.solver = solver
        return scores.clone()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.solver(ctx.saved_tensors[0] + gradient), None


@pytest.mark.parametrize("backend", BACKENDS)
def test_backward_passes_in_other_threads(moods, backend):
    scores = [good().requires_grad_() for _ in range(3)]
    others = [threading.Thread(target=lambda s=s: Layer.apply(s, moods[backend]).sum().backward()) for s in scores]
    for other in others:
        other.start()
    for other in others:
        other.join()
    for s in scores:
        assert torch.equal(s.grad, expected(s.detach()))


def test_an_exception_in_the_backward_pass_leaves_no_gradient(moods):
    scores = good().requires_grad_()
    with torch.no_grad():
        scores[3, 0] = -2.0
    with pytest.raises(RuntimeError, match="instance 3: ZeroDivisionError"):
        Layer.apply(scores, moods["processes"]).sum().backward()
    assert scores.grad is None


def test_cache_and_counters():
    solver = PythonSolver(largest_of_allowed, cache=4)
    scores, allowed = good(3), torch.ones(3, 3, dtype=torch.bool)
    first = solver(scores, allowed=allowed)
    assert torch.equal(solver(scores, allowed=allowed), first)
    done = solver.statistics()
    assert (done.calls, done.solved, done.cached) == (1, 3, 3)
    assert done.seconds > 0
    allowed[0, scores[0].argmax()] = False  # the same scores, another instance
    assert not torch.equal(solver(scores, allowed=allowed)[0], first[0])
    assert solver.statistics().solved == 4
    solver(good(4), allowed=torch.ones(4, 3, dtype=torch.bool))  # these push out the others
    solver(scores, allowed=allowed)
    assert solver.statistics().solved == 11


def test_a_wrong_answer_is_not_kept():
    answers = [np.array([0.5, 0.5]), np.array([1, 0])]
    solver = PythonSolver(lambda scores: answers.pop(0), cache=10)
    with pytest.raises(ValueError, match=r"instance \(\): expected 0 or 1"):
        solver(torch.zeros(2))
    assert torch.equal(solver(torch.zeros(2)), torch.tensor([1.0, 0.0]))


def test_copies_have_workers_of_their_own(moods):
    solver, scores = moods["processes"], good()
    solver(scores)
    for other in (pickle.loads(pickle.dumps(solver)), copy.deepcopy(solver)):
        assert other == solver
        assert other.statistics().calls == 0
        assert other._state is not solver._state
        assert not other._state.backend.workers


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from Python 3.12 on; here the child does little
def test_a_fork_leaves_the_workers_of_its_parent_alone(moods):
    solver, scores = moods["processes"], good()
    solver(scores)
    child = os.fork()
    if child == 0:
        fresh = solver.statistics().calls == 0 and not solver._state.backend.workers
        solver.close()
        os._exit(0 if fresh else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert all(worker.process.is_alive() for worker in solver._state.backend.workers)
    assert torch.equal(solver(scores), expected(scores))


SCRIPT = """
import os, sys, torch
from python_solvers import largest
from logprob.discrete.solvers.python import PythonSolver

solver = PythonSolver(largest, backend="processes", workers=1)
{guard}
    solver(torch.eye(3))
    print(solver._state.backend.workers[0].process.pid)
"""


def run_script(path, guard):
    path.write_text(SCRIPT.format(guard=guard))
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": paths}
    )


def test_the_end_of_a_program_ends_the_workers(tmp_path):
    done = run_script(tmp_path / "script.py", 'if __name__ == "__main__":')
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


def test_a_script_without_guard_is_told_so(tmp_path):
    done = run_script(tmp_path / "script.py", "if True:")
    assert done.returncode != 0
    assert "if __name__ == '__main__':" in done.stderr


def test_wrong_arguments():
    with pytest.raises(ValueError, match="expected the backend"):
        PythonSolver(largest, backend="fibres")
    with pytest.raises(ValueError, match="workers >= 1"):
        PythonSolver(largest, backend="threads", workers=0)
    with pytest.raises(ValueError, match="cache >= 0"):
        PythonSolver(largest, cache=-1)
    with pytest.raises(ValueError, match="timeout > 0 and processes, got 1 and threads"):
        PythonSolver(largest, backend="threads", timeout=1)
    with pytest.raises(ValueError, match="can be pickled"):
        PythonSolver(lambda scores: scores, backend="processes")
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        PythonSolver(largest, event_dim=2)(torch.zeros(3))


def test_networkx_beside_our_own_solver():
    edges = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    scores = torch.randn(20, len(edges))
    assert torch.equal(PythonSolver(spanning_tree)(scores, edges=edges), SpanningTree()(scores))


def test_scipy_beside_enumeration():
    costs = torch.randn(20, 3, 3)
    permutations = torch.stack(
        [torch.eye(3)[list(p)] for p in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0])]
    )
    best = permutations[torch.einsum("bij,pij->bp", costs, permutations).argmin(-1)]
    assert torch.equal(PythonSolver(assignment, event_dim=2, maximize=False)(costs), best)


def test_compilers_do_not_look_into_it():
    def of_arrays(scores):
        assert type(scores) is np.ndarray
        return largest(scores)

    solver, scores = PythonSolver(of_arrays), torch.randn(4, 3)
    compiled = torch.compile(lambda scores: solver(2 * scores) + 1, backend="aot_eager")
    assert torch.equal(compiled(scores), expected(scores) + 1)
