"""The mean correlation coefficient, against reference files, enumeration and scipy."""

from __future__ import annotations

import subprocess
import sys
from itertools import permutations

import numpy as np
import pytest
import torch
from golden_icebeem import load
from scipy import stats

from logprob.metrics import best_assignment, mcc, pearson_matrix, spearman_matrix

CASES = ("ref", "d3", "monotone", "ties", "d8")
MATRICES = {"pearson": pearson_matrix, "spearman": spearman_matrix}


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("method", MATRICES)
@pytest.mark.parametrize("case", CASES)
def test_reference_files(case, method):
    golden = load("mcc")
    s, z = golden[f"{case}_s"], golden[f"{case}_z"]
    found = mcc(s, z, method=method)
    matrix = golden[f"{case}_{method}_matrix"]
    assert torch.allclose(found.matrix, matrix, rtol=0, atol=1e-10)
    assert torch.allclose(MATRICES[method](s, z).abs(), matrix, rtol=0, atol=1e-10)
    assert torch.equal(found.cols, golden[f"{case}_{method}_cols"])
    assert found.score == pytest.approx(golden[f"{case}_{method}_score"].item(), abs=1e-10)
    half = len(s) // 2
    outside = mcc(s[:half], z[:half], method=method, test=(s[half:], z[half:]))
    assert outside.score == pytest.approx(golden[f"{case}_{method}_out"].item(), abs=1e-10)
    assert outside.out_of_sample


@pytest.mark.parametrize("target", ["abs", "square"])
@pytest.mark.parametrize("case", CASES)
def test_reference_files_of_targets(case, target):
    golden = load("mcc")
    s, z = golden[f"{case}_s"], golden[f"{case}_z"]
    want = golden[f"{case}_{target}_pearson"].item()
    assert mcc(s, z, target=target, both=True).score == pytest.approx(want, abs=1e-10)
    of = {"abs": torch.abs, "square": torch.square}[target]
    assert mcc(s, z, target=target).score == pytest.approx(mcc(of(s), z).score, abs=1e-14)


def test_published_fixture():
    stream = np.random.RandomState(0)
    a = stream.randn(500, 5)
    b = a @ stream.randn(5, 5) + 0.5 * stream.randn(500, 5)
    assert mcc(a, b).score == pytest.approx(0.6127935900, abs=1e-9)
    assert mcc(a, b, method="spearman").score == pytest.approx(0.6058958636, abs=1e-9)


def best_by_enumeration(matrix):
    """Mean of the best assignment, by trying all of them; at most as many rows as columns."""
    rows, cols = matrix.shape
    every = np.array(list(permutations(range(cols), rows)))
    return matrix[np.arange(rows), every].mean(-1).max()


def test_assignment_is_the_best_of_all():
    stream = np.random.RandomState(3)
    for number in range(200):
        rows, cols = sorted(1 + stream.randint(6, size=2))
        s, z = stream.randn(20, rows), stream.randn(20, cols)
        method = ("pearson", "spearman")[number % 2]
        for first, second in ((s, z), (z, s)):
            found = mcc(first, second, method=method)
            matrix = found.matrix.numpy() if first is s else found.matrix.numpy().T
            assert found.score == pytest.approx(best_by_enumeration(matrix), abs=1e-12)
            assert found.matched == rows == len(found.per_component)


def test_assignment_reference_files():
    golden = load("assignment")
    matrices, best = (value for _, value in sorted(golden.items(), key=lambda item: -item[1].dim()))
    for matrix, want in zip(matrices, best, strict=True):
        assert matrix[best_assignment(matrix)].mean().item() == pytest.approx(want.item(), abs=1e-14)


def test_correlations_of_scipy():
    s, z = normal(60, 3).round(decimals=1), normal(60, 4, seed=1).round(decimals=1)  # with ties
    for i in range(3):
        for j in range(4):
            pair = s[:, i].numpy(), z[:, j].numpy()
            assert pearson_matrix(s, z)[i, j].item() == pytest.approx(stats.pearsonr(*pair)[0], abs=1e-12)
            assert spearman_matrix(s, z)[i, j].item() == pytest.approx(stats.spearmanr(*pair)[0], abs=1e-12)


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_blind_to_sign_order_and_scale(method):
    s = normal(300, 4)
    z = s @ normal(4, 4, seed=1)
    found = mcc(s, z, method=method)
    changed = mcc(s, z[:, [2, 0, 3, 1]] * torch.tensor([-3.0, 1e-160, 1e160, 0.5], dtype=torch.float64), method=method)
    assert changed.score == pytest.approx(found.score, abs=1e-12)
    shifted = mcc(-7 * s + 2, z - 5, method=method)
    assert shifted.score == pytest.approx(found.score, abs=1e-12)
    if method == "spearman":
        assert mcc(s.exp(), z**3, method=method).score == pytest.approx(found.score, abs=1e-12)


def test_kinds_of_input_agree_and_are_left_alone():
    s, z = normal(50, 3), normal(50, 2, seed=1)
    copies = s.clone(), z.clone()
    want = mcc(s, z, target="abs", both=True, null="rows", interval="bootstrap", generator=0)
    assert torch.equal(s, copies[0])
    assert torch.equal(z, copies[1])
    frozen = s.numpy().copy(), z.numpy().copy()
    for array in frozen:
        array.setflags(write=False)
    trained = z.clone().requires_grad_()
    for pair in ((s.numpy(), z), (s.tolist(), trained), (frozen[0], frozen[1]), (s.flip(0).numpy()[::-1], z)):
        found = mcc(*pair, target="abs", both=True, null="rows", interval="bootstrap", generator=0)
        assert (found.score, found.null.p_value, found.interval) == (want.score, want.null.p_value, want.interval)
    assert trained.requires_grad
    assert trained.grad is None
    assert mcc(s.float(), z.half()).matrix.dtype == torch.float64
    assert mcc((s > 0), (z * 10).int()).matched == 2


def test_signs_and_alignment():
    s = normal(100, 3)
    z = torch.stack([-2 * s[:, 2], s[:, 0] ** 3, torch.zeros(100), -s[:, 1]], 1) + 1e-3 * normal(100, 4, seed=1)
    found = mcc(s, z)
    assert found.rows.tolist() == [0, 1, 2]
    assert found.cols.tolist() == [1, 3, 0]
    assert found.signs.tolist() == [1, -1, -1]
    for column in range(3):
        assert pearson_matrix(s, found.align(z))[column, column] > 0.7
    assert found.align(z.numpy()).shape == (100, 3)


def test_constant_columns_count_as_zero_with_one_warning():
    s, z = normal(30, 3), normal(30, 3, seed=1)
    s[:, 1], z[:, 0], z[:, 2] = 0.1, 1e9, 0
    with pytest.warns(RuntimeWarning, match=r"\[1\] of sources and \[0, 2\] of features") as caught:
        found = mcc(s, z, test=(s, z), null="rows", interval="bootstrap", resamples=5)
    assert len(caught) == 1
    assert found.matrix[1].tolist() == [0, 0, 0]
    assert found.score == pytest.approx(found.matrix[[0, 2], 1].max().item() / 3)
    for method in ("spearman", "rdc"):
        with pytest.warns(RuntimeWarning, match="constant"):
            assert mcc(s, z, method=method).matrix[:, [0, 2]].abs().max() == 0


def test_wrong_input():
    s, z = normal(30, 3), normal(30, 2)
    for bad in (float("nan"), float("inf"), -float("inf")):
        wrong = z.clone()
        wrong[4, 1] = bad
        with pytest.raises(ValueError, match=r"finite features, got NaN or infinity in columns \[1\]"):
            mcc(s, wrong)
        with pytest.raises(ValueError, match="finite test sources"):
            mcc(z, s, test=(wrong, s))
    cases = [
        ({"sources": s[:2], "features": z[:2]}, "at least 3 rows"),
        ({"sources": s, "features": z[:20]}, "as many rows of sources as of features, got 30 and 20"),
        ({"sources": s[:, 0], "features": z}, r"shape \(N, d\)"),
        ({"sources": s, "features": z[:, :0]}, r"shape \(N, d\)"),
        ({"sources": s, "features": z.to(torch.complex64)}, "real features"),
        ({"sources": s, "features": z, "method": "Pearson"}, "method to be one of 'pearson'"),
        ({"sources": s, "features": z, "target": "log"}, "target to be one of"),
        ({"sources": s, "features": z, "null": "columns"}, "null to be one of"),
        ({"sources": s, "features": z, "null": "within"}, "expected groups"),
        ({"sources": s, "features": z, "null": "within", "groups": torch.zeros(3)}, "group for each of 30"),
        ({"sources": s, "features": z, "null": "within", "groups": torch.arange(30)}, "more than one row"),
        ({"sources": s, "features": z, "null": "rows", "permutations": 0}, "at least 1 permutation"),
        ({"sources": s, "features": z, "interval": "normal"}, "interval to be one of"),
        ({"sources": s, "features": z, "interval": "bootstrap", "level": 1.0}, "level in"),
        ({"sources": s, "features": z, "method": "rdc", "interval": "bootstrap"}, "RDC has no interval"),
        ({"sources": s, "features": z, "test": (s, s)}, "2 columns of test features"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            mcc(arguments.pop("sources"), arguments.pop("features"), **arguments)


def test_it_can_be_imported_alone():
    code = "from logprob.metrics import mcc; import sys; print([m for m in ('sklearn', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_says_what_it_is():
    s = normal(100, 3)
    said = repr(mcc(s, s[:, :2], target="abs", both=True, test=(s, s[:, :2]), null="rows", generator=0))
    assert "pearson of |s| with |z|, 2 pairs of 3 sources and 2 features, out of sample" in said
    assert "score=1.0000" in said
    assert "p=0.0050" in said
