"""Functions of batched tensors: what they are given, and that wrong answers are named."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from logprob.discrete.solvers.function import FunctionSolver


def largest(scores):
    return torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_batch_shape_is_one_dimension_for_the_function(batch, dtype):
    scores = torch.randn(*batch, 4, 5, dtype=dtype, requires_grad=True)
    mask, table = torch.ones(*batch, 7), [1, 2]
    seen = {}

    def solve(scores, **instance):
        seen.update(instance, scores=scores)
        return largest(scores)

    z = FunctionSolver(solve, event_dim=2)(scores, mask=mask, shared=torch.ones(9), table=table)
    rows = torch.Size(batch).numel()
    assert seen["scores"].shape == (rows, 4, 5)
    assert not seen["scores"].requires_grad
    assert seen["mask"].shape == (rows, 7)
    assert seen["shared"].shape == ((1, 9) if batch == () else (9,))
    assert seen["table"] is table
    assert z.dtype == dtype
    assert not z.requires_grad
    assert torch.equal(z, largest(scores.detach()))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda s: largest(s)[:, :2], r"shape \(4, 3\), torch.float32, on cpu, got a tensor of shape \(4, 2\)"),
        (lambda s: largest(s).double(), r"torch.float32, on cpu, got a tensor of shape \(4, 3\), torch.float64"),
        (lambda s: s.argmax(-1), r"shape \(4,\), torch.int64"),
        (lambda s: largest(s).numpy(), "got ndarray; PythonSolver takes"),
        (lambda s: None, "got NoneType"),
    ],
)
def test_wrong_form(wrong, said):
    with pytest.raises(ValueError, match=said):
        FunctionSolver(wrong)(torch.randn(4, 3))


@pytest.mark.parametrize("value", [0.5, 2.0, -1.0, float("nan"), float("inf")])
def test_wrong_values_are_named_by_instance(value):
    def wrong(scores):
        z = largest(scores)
        z[4, 1] = value
        return z

    with pytest.raises(ValueError, match=rf"instance \(1, 1\): expected 0 or 1 at entry \[1\], got {value}"):
        FunctionSolver(wrong)(torch.randn(2, 3, 5))
    if value - value == 0:
        FunctionSolver(wrong, binary=False)(torch.randn(2, 3, 5))
    else:
        with pytest.raises(ValueError, match=r"instance 4: expected a finite number at entry \[1\]"):
            FunctionSolver(wrong, binary=False)(torch.randn(6, 5))


def test_what_the_function_raises_comes_out():
    def broken(scores):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        FunctionSolver(broken)(torch.randn(4, 3))


def test_wrong_scores():
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        FunctionSolver(largest, event_dim=2)(torch.randn(3))
    with pytest.raises(ValueError, match=r"torch\.int64"):
        FunctionSolver(largest)(torch.arange(3))


def test_compiled_and_mapped():
    scores = torch.randn(6, 5)
    solver = FunctionSolver(largest)
    compiled = torch.compile(lambda s: solver(s), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(scores), solver(scores))
    assert torch.equal(torch.vmap(solver)(scores), solver(scores))
    wrong = torch.compile(lambda s: FunctionSolver(lambda s: s.sigmoid())(s), fullgraph=True, backend="aot_eager")
    assert wrong(scores).isnan().all()


def test_copies():
    solver = FunctionSolver(torch.sign, event_dim=2, maximize=False, binary=False)
    assert pickle.loads(pickle.dumps(solver)) == copy.deepcopy(solver) == solver
