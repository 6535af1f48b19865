"""The randomized dependence coefficient and canonical correlations, against reference files and slow forms."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_icebeem import load

from logprob.metrics import cca, mcc, rdc, representation_pairs, weak_mcc
from logprob.metrics.randomized_dependence import sine_basis, sine_weights

KINDS = ("square", "indep", "noisy", "same")
AMBIGUITY = {"n500": 6e-4, "n50": 6e-3}  # what another basis of the same columns makes of it


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def reference_errors():
    golden = load("rdc")
    for size in AMBIGUITY:
        weights = golden[f"{size}_wu"], golden[f"{size}_wv"]
        for kind in KINDS:
            found = rdc(golden[f"{size}_u"], golden[f"{size}_v_{kind}"], weights=weights)
            yield size, kind, abs(found - golden[f"{size}_rdc_{kind}"].item())


def test_rdc_reference_files():
    """Up to rounding, which the definition magnifies; exactly in the next test."""
    for size, kind, error in reference_errors():
        assert error < AMBIGUITY[size], (size, kind)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the reference was computed with kernels of that machine")
def test_rdc_reference_files_with_the_same_kernels():
    """The last sine that counts is mostly rounding: the digits depend on which kernels OpenBLAS has chosen."""
    code = "from test_dependence import reference_errors as e; print(max(error for *_, error in e()))"
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join([str(tests), str(tests / "metrics"), *sys.path])
    environment = {**os.environ, "OPENBLAS_CORETYPE": "Haswell", "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert float(done.stdout) < 1e-12


def full_rdc(u, v, weights):
    """With the whole orthogonal matrices, ``(N, N)``."""
    bases = []
    for x, w in zip((u, v), weights, strict=True):
        ranks = np.argsort(np.argsort(x.numpy(), kind="stable"), kind="stable") + 1.0
        sines = np.sin(np.stack([ranks / len(x), np.ones(len(x))], 1) @ w.numpy())
        sines = np.concatenate([sines, np.ones((len(x), 1))], 1)
        sines = sines - sines.mean(0)
        q = np.linalg.qr(sines, mode="complete")[0]
        bases.append((q, np.linalg.matrix_rank(sines)))
    (qx, rx), (qy, ry) = bases
    return np.linalg.svd((qx.T @ qy)[:rx, :ry], compute_uv=False)[0]


@pytest.mark.parametrize("rows", [500, 60])
def test_thin_form_is_the_full_one(rows):
    for seed in range(3):
        u = normal(rows, seed=seed)
        v = 0.5 * u**2 + normal(rows, seed=100 + seed)
        weights = sine_weights(2, rows, torch.Generator().manual_seed(seed))
        assert rdc(u, v, weights=tuple(weights)) == pytest.approx(full_rdc(u, v, weights), abs=1e-8)


def test_rdc_properties():
    u = normal(500)
    assert rdc(u, u**2, generator=0) == pytest.approx(1, abs=1e-2)
    assert rdc(u, u, weights=(w := sine_weights(1, 500, None)[0], w)) == pytest.approx(1, abs=1e-12)
    by_chance = np.mean([rdc(u, normal(500, seed=seed), generator=seed) for seed in range(1, 41)])
    assert 0.2 < by_chance < 0.3
    assert rdc(u, -u.exp(), generator=3) == rdc(
        u.numpy(), (-u.exp()).tolist(), generator=torch.Generator().manual_seed(3)
    )
    assert 0 <= rdc([1.0, 2, 3], [2.0, 1, 5], generator=0) <= 1
    with pytest.raises(ValueError, match=r"weights \(2, k\)"):
        rdc(u, u, weights=(torch.ones(3, 20), torch.ones(2, 20)))


def test_rdc_of_many_columns_draws_weights_once_a_column():
    s, z = normal(400, 3), normal(400, 2, seed=1)
    state = torch.get_rng_state()
    found = mcc(s, z, method="rdc", null="rows", permutations=3, generator=7)
    assert torch.equal(state, torch.get_rng_state())
    random = torch.Generator().manual_seed(7)
    ws, wz = sine_weights(3, 400, random), sine_weights(2, 400, random)
    for i in range(3):
        for j in range(2):
            assert found.matrix[i, j].item() == pytest.approx(rdc(s[:, i], z[:, j], weights=(ws[i], wz[j])), abs=1e-9)
    assert found.signs is None
    assert torch.equal(found.align(z), z[:, found.cols])
    assert mcc(s, z, method="rdc", generator=8).score != found.score


def test_sine_basis_is_orthonormal_up_to_its_rank():
    basis = sine_basis(normal(2, 300), sine_weights(2, 300, torch.Generator().manual_seed(0)))
    gram = (basis @ basis.mT).diagonal(dim1=-2, dim2=-1)
    assert ((gram - 1).abs().minimum(gram.abs()) < 1e-12).all()
    assert torch.allclose(basis @ basis.mT, torch.diag_embed(gram), atol=1e-12)


def test_cca_reference_file():
    golden = load("cca")
    want = next(value for value in golden.values() if value.dim() == 1)
    assert torch.allclose(cca(golden["x"], golden["y"]).correlations, want, rtol=0, atol=1e-12)


def test_cca_by_definition():
    """Correlations are the roots of ``Cxx^-1 Cxy Cyy^-1 Cyx``; variates are uncorrelated, of unit variance."""
    x = normal(200, 3) * torch.tensor([1.0, 1e-6, 1e6])
    y = x @ normal(3, 4, seed=1).mul(torch.tensor([[1.0], [1e6], [1e-6]])) + normal(200, 4, seed=2)
    joint = np.cov(x.T.numpy() / np.array([[1.0], [1e-6], [1e6]]), y.T.numpy())
    xx, xy, yy = joint[:3, :3], joint[:3, 3:], joint[3:, 3:]
    roots = np.sort(np.linalg.eigvals(np.linalg.solve(xx, xy) @ np.linalg.solve(yy, xy.T)).real)[::-1]
    found = cca(x, y)
    assert found.correlations.numpy() == pytest.approx(np.sqrt(roots), abs=1e-10)
    u, v = found.transform(x, y.numpy())
    assert np.cov(u.T.numpy(), v.T.numpy())[:3, 3:] == pytest.approx(np.diag(found.correlations), abs=1e-10)
    assert torch.allclose(u.T.cov(), torch.eye(3, dtype=torch.float64), atol=1e-10)
    assert torch.allclose(v.T.cov(), torch.eye(3, dtype=torch.float64), atol=1e-10)
    assert len(cca(x, y, components=2).correlations) == 2


def test_cca_of_dependent_columns():
    x, y = normal(100, 3), normal(100, 2, seed=1)
    want = cca(x, y).correlations
    redundant = torch.cat([x, x @ normal(3, 2, seed=2), torch.full((100, 1), 3.0)], 1)
    found = cca(redundant, y)
    assert torch.allclose(found.correlations, want, atol=1e-10)
    assert torch.allclose(found.transform(redundant, y)[0].T.cov(), torch.eye(2, dtype=torch.float64), atol=1e-9)
    with pytest.raises(ValueError, match="not constant"):
        cca(torch.ones(10, 2), y[:10])
    with pytest.raises(ValueError, match="at least 1 component"):
        cca(x, y, components=0)
    with pytest.raises(ValueError, match="2 columns of y"):
        found.transform(redundant, x)


def test_weak_agreement_sees_through_linear_maps_and_strong_does_not():
    x = normal(400, 6)
    tables = [x, x @ normal(6, 6, seed=1), x[:, [3, 1, 0, 5, 4, 2]] * -2, normal(400, 6, seed=2)]
    rows = {(row.first, row.second): row for row in representation_pairs(tables, dimension=6)}
    assert len(rows) == 6
    assert rows[0, 1].weak.outside == pytest.approx(1, abs=1e-9)
    assert rows[0, 1].strong.outside < 0.9
    assert rows[0, 2].strong == pytest.approx((1, 1, 1), abs=1e-12)
    assert max(rows[0, 3].strong) < 0.3
    assert rows[0, 3].weak.outside < rows[0, 3].weak.inside


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_representation_pairs_by_hand(method):
    x = normal(61, 4)
    y = x @ normal(4, 5, seed=1) + normal(61, 5, seed=2)
    (row,) = representation_pairs([x, y.numpy()], dimension=3, method=method)
    inside, outside = slice(30), slice(30, None)
    held = mcc(x[inside], y[inside], method=method, test=(x[outside], y[outside]))
    own = mcc(x[outside], y[outside], method=method)
    assert row.strong == pytest.approx(
        (mcc(x[inside], y[inside], method=method).score, held.score, own.score), abs=1e-12
    )
    maps = cca(x[inside], y[inside], components=3)
    u, v = zip(*(maps.transform(x[part], y[part]) for part in (inside, outside)), strict=True)
    want = [mcc(u[0], v[0], method=method), mcc(u[0], v[0], method=method, test=(u[1], v[1]))]
    want.append(mcc(u[1], v[1], method=method))
    assert row.weak == pytest.approx([one.score for one in want], abs=1e-9)
    sweep = weak_mcc(x, y, dimension=[1, 3, 20], method=method)
    assert list(sweep) == [1, 3, 20]
    assert sweep[3] == pytest.approx(row.weak, abs=1e-12)
    if method == "pearson":
        assert sweep[1].inside == pytest.approx(maps.correlations[0].item(), abs=1e-12)
        assert sweep[20].inside == pytest.approx(cca(x[inside], y[inside]).correlations.mean().item(), abs=1e-12)


def test_random_halves_are_seeded():
    x, y = normal(80, 3), normal(80, 3, seed=1)
    first, again, other = (weak_mcc(x, y, halves="random", generator=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_representations_that_cannot_be_compared():
    x = normal(20, 3)
    for arguments, message in (
        ({"features": [x]}, "at least 2 tables"),
        ({"features": [x, x[:10]]}, "as many rows of every table"),
        ({"features": [x[:5], x[:5]]}, "at least 6"),
        ({"features": [x, x], "dimension": 0}, "dimensions from 1"),
        ({"features": [x, x], "halves": "last"}, "halves to be one of"),
        ({"features": [x, x], "method": "rdc"}, "method to be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            representation_pairs(**arguments)
    dead = torch.cat([x, torch.zeros(20, 1)], 1)
    with pytest.warns(RuntimeWarning, match=r"\[3\] of features 1"):
        representation_pairs([x, dead])
