"""scikit-learn's data, and what importing the package costs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from logprob.data import BreastCancer, Digits, Wine


def test_digits_are_discrete_images():
    data = Digits().load()
    rows = torch.cat([data.train.x, data.valid.x, data.test.x])
    assert rows.dtype == torch.int64
    assert (rows.min().item(), rows.max().item(), data.categories) == (0, 16, 17)
    assert data.image_shape == (1, 8, 8)
    assert data.variables == 64  # constant border pixels included
    assert data.provenance["split"]["counts"] == {"train": 1259, "valid": 179, "test": 359}
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(42).permutation(1797)
    np.testing.assert_array_equal(data.valid.x, images[order[:179]])
    np.testing.assert_array_equal(data.train.target, labels[order[538:]])


@pytest.mark.parametrize(("source", "rows", "variables"), [(Wine, 178, 13), (BreastCancer, 569, 30)])
def test_tables_are_standardised_by_the_training_rows(source, rows, variables):
    data = source(seed=3).load()
    assert data.variables == variables
    assert sum(len(batch.x) for batch in (data.train, data.valid, data.test)) == rows
    torch.testing.assert_close(data.train.x.mean(0), torch.zeros(variables).double())
    torch.testing.assert_close(data.train.x.std(0, correction=0), torch.ones(variables).double())
    assert data.train.x.dtype == torch.float64
    assert data.transform.loc.tolist() == data.provenance["standardisation"]["mean"]
    assert data.provenance == source(seed=3).load().provenance
    assert data.provenance["content_sha256"] != source(seed=4).load().provenance["content_sha256"]


def test_split_sizes_may_be_rows():
    data = Wine(valid=20, test=30).load()
    assert [len(batch.x) for batch in (data.train, data.valid, data.test)] == [128, 20, 30]
    with pytest.raises(ValueError, match="every split needs a row"):
        Wine(valid=0.5, test=0.5).load()


def test_import_is_light_and_a_missing_scikit_learn_is_named():
    code = """
import sys, logprob.data
heavy = {"sklearn", "yaml", "matplotlib", "pandas"} & set(sys.modules)
assert not heavy, heavy
sys.modules["sklearn"] = None
try:
    logprob.data.Digits().load()
except ImportError as error:
    assert "logprob[experiments]" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)
