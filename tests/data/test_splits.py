"""Splits, standardisation, and the hash of the content."""

from __future__ import annotations

import json

import numpy as np
import pytest

from logprob.data import Dataset, Synthetic2D
from logprob.data.splits import (
    Splits,
    batches,
    content_sha256,
    provenance,
    seeded_split,
    split_size,
    standardisation,
    tail_split,
)


def test_seeded_split_is_the_published_order():
    order = np.random.RandomState(7).permutation(20)
    split = seeded_split(20, valid=3, test=5, seed=7)
    np.testing.assert_array_equal(np.concatenate([split.valid, split.test, split.train]), order)
    assert split.counts() == {"train": 12, "valid": 3, "test": 5}


def test_tail_split_keeps_the_order():
    split = tail_split(10, valid=2, test=3)
    assert [part.tolist() for part in split] == [[0, 1, 2, 3, 4], [5, 6], [7, 8, 9]]


@pytest.mark.parametrize("split", [lambda *n: seeded_split(*n, seed=0), tail_split])
@pytest.mark.parametrize("sizes", [(10, 0, 5), (10, 5, 5), (10, 5, 0), (3, 5, 5)])
def test_empty_split_is_refused(split, sizes):
    with pytest.raises(ValueError, match="every split needs a row"):
        split(*sizes)


@pytest.mark.parametrize("size", [0, -1, 1.5, 100, 0.001, float("nan")])
def test_split_size_must_be_a_fraction_or_a_number_of_rows(size):
    with pytest.raises(ValueError, match="valid"):
        split_size(size, 100, "valid")


def test_standardisation_leaves_missing_values_out():
    train = np.array([[1.0, np.nan], [3.0, 5.0], [np.nan, 9.0]])
    affine = standardisation(train)
    assert affine.loc.tolist() == [2, 7]
    assert affine.scale.tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"without any value in the training rows: \[1\]"):
        standardisation(np.array([[1.0, np.nan], [2.0, np.nan]]))


def test_content_hash_sees_values_shape_type_and_order_but_not_layout():
    a, b = np.arange(6.0).reshape(2, 3), np.ones((1, 3))
    known = "1a0e11be"
    assert content_sha256([a, b]) == content_sha256([np.asfortranarray(a), b.astype(">f8")])
    different = [[b, a], [a.reshape(3, 2), b], [a.astype(np.float32), b], [a + 1, b], [a]]
    assert content_sha256([a, b]) not in {content_sha256(arrays) for arrays in different}
    assert content_sha256([a, b]).startswith(known)


def test_every_dataset_has_a_content_hash():
    bare = Dataset("bare", *batches([np.ones((2, 1)), np.zeros((1, 1)), np.ones((1, 1))]))
    expected = content_sha256([np.ones((2, 1)), np.zeros((1, 1)), np.ones((1, 1))])
    assert bare.content_sha256 == expected
    made = Synthetic2D("ring", train=20)
    assert made.load().content_sha256 == made.load().provenance["content_sha256"]


def test_provenance_has_the_same_keys_everywhere_and_is_json():
    rows = Splits(np.array([[1.0], [3.0]]), np.ones((1, 1)), np.zeros((1, 1)))
    made = provenance("rule/1", rows, {"rule": "given"}, standardisation=standardisation(rows.train), more=1)
    assert json.loads(json.dumps(made)) == made
    assert list(made) == [
        "rule",
        "files",
        "split",
        "standardisation",
        "dropped_columns",
        "content_sha256",
        "more",
    ]
    assert made["standardisation"] == {"mean": [2.0], "std": [1.0]}
    assert made["split"] == {"rule": "given", "counts": {"train": 2, "valid": 1, "test": 1}}
