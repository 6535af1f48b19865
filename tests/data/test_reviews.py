"""Texts with scores and marks: files written here, and reviews whose rule is known."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import torch

from logprob.data import (
    BeerReviews,
    CorruptDataError,
    MissingDataError,
    PlantedReviews,
    Sentiment,
    read_word_vectors,
)
from logprob.data.reviews import Text, encoded

TRAIN = ["0.6 0.2 0.8 0.4 0.5\ta dark beer , a good one", "0.1 0.9 0.5 0.5 0.5\tgood smell"]
HELD_OUT = [f"0 {i / 10} 0 0 0\tdark ale" for i in range(5)]
MARKED = [
    {"x": ["a", "good", "dark", "smell"], "y": [0, 0.7, 0, 0, 0], "0": [], "1": [[1, 2], [3, 4]], "2": [], "3": []},
    {"x": ["no", "smell"], "y": [0, 0.3, 0, 0, 0], "0": [[0, 2]], "1": [], "2": [], "3": []},
]


@pytest.fixture
def beer(tmp_path):
    folder = tmp_path / "beer"
    folder.mkdir()
    for name, lines in (("train", TRAIN), ("heldout", HELD_OUT)):
        with gzip.open(folder / f"reviews.aspect1.{name}.txt.gz", "wt") as file:
            file.write("\n".join(lines) + "\n")
    (folder / "annotations.json").write_text("\n".join(map(json.dumps, MARKED)))
    return folder


def test_beer_reviews(tmp_path, beer):
    data = BeerReviews(aspect=1, length=6).load(tmp_path)
    numbers = BeerReviews(aspect=1).vocabulary(tmp_path)
    assert list(numbers.items()) == [
        (w, i) for i, w in enumerate(["a", "good", ",", "beer", "dark", "one", "smell"], 3)
    ]
    assert data.categories == 10
    assert data.variables == 6
    # seven words are cut to the first six; two are padded at the front
    assert data.train.x.tolist() == [[3, 7, 6, 5, 3, 4], [0, 0, 0, 0, 4, 9]]
    assert data.train.target.tolist() == [0.2, 0.9]
    assert not data.train.context.any()
    held = sorted(data.valid.target.tolist() + data.test.target[:2].tolist())
    assert held == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert data.test.target[2:].tolist() == [0.7, 0.3]
    assert data.test.x[2:].tolist() == [[0, 0, 3, 4, 7, 9], [0, 0, 0, 0, 2, 9]]
    assert data.test.context.int().tolist()[2:] == [[0, 0, 0, 1, 0, 1], [0] * 6]
    assert not data.test.context[:2].any()
    assert not data.valid.context.any()
    assert data.provenance["annotated"] == 2
    assert len(data.provenance["files"]) == 3
    again = [BeerReviews(aspect=1, length=6, seed=seed).load(tmp_path).valid.target.tolist() for seed in range(6)]
    assert again[0] == data.valid.target.tolist()
    assert len({tuple(part) for part in again}) > 1


SPOILT = {
    "tab": ("reviews.aspect1.train.txt", "0.5 0.5 no tab", "line 1: expected scores, a tab"),
    "score": ("reviews.aspect1.heldout.txt", "0.5 7\tgood", r"line 1: expected a score in \[0, 1\]"),
    "number": ("reviews.aspect1.heldout.txt", "0.5 x\tgood", "line 1: expected a score of aspect 1"),
    "bytes": ("reviews.aspect1.train.txt", b"0 0\t\xff", "not utf-8"),
    "object": ("annotations.json", json.dumps(MARKED[0]) + "\n{}", "line 2: expected an object"),
    "range": ("annotations.json", json.dumps({**MARKED[0], "1": [[3, 5]]}), "within 4 words"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_wrong_lines_are_named(tmp_path, beer, name):
    file, content, message = SPOILT[name]
    into = beer / (file if file.endswith("json") else f"{file}.gz")  # what is not packed is read as it is
    into.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CorruptDataError, match=message):
        BeerReviews(aspect=1).load(tmp_path)


def test_missing_reviews(tmp_path):
    with pytest.raises(MissingDataError, match=r"reviews\.aspect2\.train\.txt[\s\S]*PlantedReviews"):
        BeerReviews(2).load(tmp_path)
    with pytest.raises(MissingDataError, match=r"stsa\.fine\.train\.gz"):
        Sentiment().load(tmp_path)


def test_word_vectors(tmp_path, beer):
    file = tmp_path / "vectors.txt"
    file.write_text("4 2\ndark 1 -2\nunseen 9 9\nale 8 8\ngood .5 1e-1\ndark 7 7\n")
    vectors = read_word_vectors(file, BeerReviews(1).vocabulary(tmp_path))
    expected = np.zeros((10, 2), dtype=np.float32)
    expected[7], expected[4] = (1, -2), (0.5, 0.1)
    np.testing.assert_array_equal(vectors, expected)
    with pytest.raises(ValueError, match="none of the 1 words"):
        read_word_vectors(file, {"absent": 3})
    for line, message in (("good 1", "expected 2 numbers after 'good', got 1"), ("good 1 x", "after the word 'good'")):
        file.write_text(f"dark 1 -2\n{line}\n")
        with pytest.raises(CorruptDataError, match=message):
            read_word_vectors(file, {"dark": 3, "good": 4})


@pytest.fixture
def sentences(tmp_path):
    folder = tmp_path / "text_sentiment"
    folder.mkdir()
    for split, count in (("train", 30), ("dev", 10), ("test", 10)):
        lines = [f"{i % 5} {'so it is' if i % 5 == 2 else f'word{i % 5} really {split}{i}'}" for i in range(count)]
        (folder / f"stsa.fine.{split}").write_text("\n".join(lines))
    for label in ("neg", "pos"):
        (folder / f"rt-polarity.{label}").write_bytes("".join(f"{label} é{i}\n" for i in range(20)).encode("latin-1"))
    return tmp_path


def test_treebank(sentences):
    data = Sentiment("sst5").load(sentences)
    numbers = Sentiment("sst5").vocabulary(sentences)
    assert [len(part.x) for part in (data.train, data.valid, data.test)] == [30, 10, 10]
    assert data.train.context is None
    assert data.train.x.shape[1] == 3
    assert data.train.target[:6].tolist() == [0, 0.25, 0.5, 0.75, 1, 0]
    # words that occur once in training, or in the other splits alone, are unknown
    assert data.test.x[4].tolist() == [numbers["word4"], numbers["really"], 2] == data.train.x[4].tolist()
    assert data.categories == 3 + 8 == 1 + int(data.train.x.max())


def test_sentences_among_neutral_ones(sentences):
    data = Sentiment("sst5", neutral=2, minimum_count=1).load(sentences)
    numbers = Sentiment("sst5", neutral=2, minimum_count=1).vocabulary(sentences)
    assert (data.train.x.shape, data.name) == ((24, 9), "sst5-among-2")
    assert 0.5 not in data.train.target
    plain = [numbers[word] for word in ("so", "it", "is")]
    for x, marks, score in zip(*data.train, strict=True):
        assert x[marks].tolist()[:2] == [numbers[f"word{int(4 * score)}"], numbers["really"]]
        assert x[~marks].tolist() == 2 * plain
    assert len({tuple(marks.tolist()) for marks in data.train.context}) == 3  # any place


def test_polarity(sentences):
    data = Sentiment("rt_polarity", minimum_count=1).load(sentences)
    assert [len(part.x) for part in (data.train, data.valid, data.test)] == [32, 4, 4]
    numbers = Sentiment("rt_polarity", minimum_count=1).vocabulary(sentences)
    assert any("é" in word for word in numbers)
    assert torch.equal(data.train.x[:, 0] == numbers["pos"], data.train.target == 1)


REFUSED = [{"name": "sst"}, {"name": "rt_polarity", "neutral": 1}, {"neutral": -1}, {"minimum_count": 0}, {"length": 0}]


@pytest.mark.parametrize("options", REFUSED)
def test_sentiment_refuses(options):
    with pytest.raises(ValueError, match=r"sst5|expected"):
        Sentiment(**options)


def test_planted_reviews():
    source = PlantedReviews(train=300, valid=5, test=6, aspect=1, aspects=3, lexicon=20, words=500)
    data = source.load()
    assert data.content_sha256 == source.load().content_sha256
    x, marks, score = (part.numpy() for part in data.train)
    assert (x.shape, data.categories) == ((300, 80), 503)
    lengths, spans = (x > 0).sum(1), marks.sum(1)
    assert 20 <= lengths.min() < 30
    assert 75 < lengths.max() <= 80
    assert set(spans) == {5, 6, 7, 8}
    assert (np.diff(marks.astype(int), axis=1, prepend=0) == 1).sum(1).max() == 1  # in one piece
    own = (x >= 3 + 20) & (x < 3 + 40)
    np.testing.assert_array_equal(own, marks)
    place = np.where(marks, (x - 23) / 19, 0).sum(1) / spans  # from 0 to 1
    np.testing.assert_allclose(score, place, atol=1e-12)
    assert score.std() > 0.25
    other = PlantedReviews(train=300, valid=5, test=6, aspect=0, aspects=3, lexicon=20, words=500).load().train
    np.testing.assert_array_equal(other.x, x)  # the same reviews
    assert abs(np.corrcoef(other.target, score)[0, 1]) < 0.2


@pytest.mark.parametrize("options", [{"aspect": 4}, {"aspects": 11}, {"lexicon": 1}, {"words": 160}, {"train": 0}])
def test_planted_refuses(options):
    with pytest.raises(ValueError, match="expected"):
        PlantedReviews(**options)


@pytest.mark.parametrize("source", [BeerReviews(), Sentiment(neutral=1), Sentiment("rt_polarity"), PlantedReviews()])
def test_stand_ins_need_no_file(source):
    data = source.stand_in(7)
    assert data.name.endswith("stand-in")
    assert "stand_in" in data.provenance
    for part in (data.train, data.valid, data.test):
        assert len(part.x) == len(part.target) == 7
        assert part.x.min() >= 0
        assert part.x.max() < data.categories
        assert part.context is None or part.context.shape == part.x.shape
    assert (data.test.context is None) == (source == Sentiment("rt_polarity"))


def test_marks_past_the_end_are_cut():
    rows = encoded([Text(["a", "b", "c", "d"], 0.5, [(1, 4), (3, 4)])], {}, length=2)
    assert rows.ids.tolist() == [[2, 2]]
    assert rows.marks.tolist() == [[False, True]]
