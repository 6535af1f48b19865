"""A user's own tables: what is read, what is dropped, what is refused, and what is said."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import torch

from logprob.data import CorruptDataError, MissingDataError, Table, cache_dir, tables
from logprob.data.columns import is_discrete
from logprob.data.numeric_text import read_numeric_text

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(100, 3)) * [1, 10, 100] + [0, 5, -50]


def csv_text(rows, header=None, delimiter=","):
    lines = [delimiter.join("" if np.isnan(v) else repr(float(v)) for v in row) for row in rows]
    return "\n".join(([delimiter.join(header)] if header else []) + lines) + "\n"


def write(path, text):
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("plain.csv", csv_text(ROWS), "012"),
        ("packed.csv.gz", csv_text(ROWS), "012"),
        ("named.csv", csv_text(ROWS, "abc"), "abc"),
        ("semicolon.txt", csv_text(ROWS, "abc", ";"), "abc"),
        ("spaces.txt", "  " + csv_text(ROWS, delimiter="  "), "012"),
        ("tabs.txt", csv_text(ROWS, "abc", "\t"), "abc"),
        ("marked.csv", "\ufeff# a comment\n\n" + csv_text(ROWS, ['"a"', "b", "c"]), "abc"),
        ("windows.csv", csv_text(ROWS, "abc").replace("\n", "\r\n"), "abc"),
    ],
)
def test_text_is_read_whatever_its_marks(tmp_path, name, text, names):
    table = read_numeric_text(write(tmp_path / name, text))
    assert table.names == tuple(names)
    np.testing.assert_array_equal(table.values, ROWS)


def test_missing_cells_become_nan(tmp_path):
    path = write(tmp_path / "a.csv", "a,b,c\n1,,3\nNA,2,?\nnan,null,4\n")
    values = read_numeric_text(path).values
    np.testing.assert_array_equal(np.isnan(values), [[0, 1, 0], [1, 0, 1], [1, 1, 0]])
    assert values[2, 2] == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,x4\n", r"row 3, column 'b': expected a finite number, got 'x4'"),
        ("1,2\n\n# note\n3,oops\n", r"row 4, column '1': .* got 'oops'"),
        ("1,2\n3,inf\n", r"row 2, column '1': .* got 'inf'"),
        ("1,2\n3,1_000\n", r"row 2, column '1': .* got '1_000'"),
        ("1;2,5\n3;4\n", r"cannot tell .*'2,5' is no number, '1' is one"),
        ("1,2\n3\n", "row 2 has 1 cells, expected 2"),
        ("a,1\n2,3\n", "header=True or header=False"),
        ("a,a\n2,3\n", "column names must differ"),
        ("a,b\n", "only a header"),
        ("\n# nothing\n", "found no row"),
    ],
)
def test_bad_text_is_named(tmp_path, text, message):
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(CorruptDataError, match=message):
        read_numeric_text(path)


def test_text_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n\xff\xfe,3\n")
    with pytest.raises(CorruptDataError, match="UTF-8"):
        read_numeric_text(tmp_path / "a.csv")


def test_header_may_be_said(tmp_path):
    path = write(tmp_path / "a.csv", "1,2\n3,4\n5,6\n")
    assert read_numeric_text(path, header=True).names == ("1", "2")
    assert len(read_numeric_text(path, header=True).values) == 2
    tabs = write(tmp_path / "b.txt", "1\t\t3\n4\t5\t6\n")
    assert np.isnan(read_numeric_text(tabs, delimiter="\t").values[0, 1])


def test_table_is_split_and_standardised_by_the_training_rows(tmp_path):
    path = write(tmp_path / "mine.csv.gz", csv_text(ROWS, "abc"))
    data = Table(path, valid=0.1, test=25, seed=5).load()
    order = np.random.RandomState(5).permutation(100)
    train = ROWS[order[35:]]
    assert data.name == "mine"
    np.testing.assert_allclose(data.train.x, (train - train.mean(0)) / train.std(0), rtol=1e-12)
    np.testing.assert_allclose(data.transform(data.test.x), ROWS[order[10:35]], rtol=1e-12)
    made = data.provenance
    assert json.loads(json.dumps(made)) == made
    assert made["files"][0]["name"] == "mine.csv.gz"  # no folder of this machine
    assert made["columns"] == ["a", "b", "c"]
    assert made["split"]["counts"] == {"train": 65, "valid": 10, "test": 25}
    assert made["duplicates"] == {"rows": 0, "test_rows_in_train": 0}


def test_order_of_the_file_can_be_kept(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    data = Table(tmp_path / "a.npy", shuffle=False, standardize=False).load()
    np.testing.assert_array_equal(torch.cat([data.train.x, data.valid.x, data.test.x]), ROWS)
    assert data.transform is None


def test_missing_values_stay_missing(tmp_path):
    rows = ROWS.copy()
    rows[::7, 1] = np.nan
    data = Table(write(tmp_path / "a.csv", csv_text(rows)), shuffle=False).load()
    np.testing.assert_array_equal(np.isnan(data.train.x.numpy()), np.isnan(rows[:80]))
    torch.testing.assert_close(data.train.x.nanmean(0), torch.zeros(3).double())
    assert sum(data.provenance["missing_values"].values()) == 15


def test_constant_columns_are_dropped_and_reported(tmp_path):
    rows = np.column_stack([ROWS[:, 0], np.full(100, 7.0), np.full(100, np.nan), ROWS[:, 1]])
    rows[-1, 1] = 8  # varies, but not in the training rows
    data = Table(write(tmp_path / "a.csv", csv_text(rows, "wxyz")), shuffle=False).load()
    assert data.provenance["dropped_columns"] == ["x", "y"]
    assert data.provenance["columns"] == ["w", "z"]
    assert data.variables == 2
    np.save(tmp_path / "b.npy", np.ones((50, 2)))
    with pytest.raises(ValueError, match="no column varies"):
        Table(tmp_path / "b.npy").load()


def test_duplicates_are_counted(tmp_path):
    rows = ROWS.copy()
    rows[-1], rows[1] = rows[0], rows[2]
    np.save(tmp_path / "a.npy", rows)
    made = Table(tmp_path / "a.npy", shuffle=False).load().provenance
    assert made["duplicates"] == {"rows": 2, "test_rows_in_train": 1}


@pytest.fixture
def counts(tmp_path):
    """A table whose second column counts, and whose third has an atom at zero."""
    atom = np.where(np.arange(100) % 9 == 0, 0.0, ROWS[:, 1])
    rows = np.column_stack([ROWS[:, 0], np.arange(100) % 6, atom])
    return write(tmp_path / "counts.csv", csv_text(rows, ["size", "number", "rain"])), rows


def test_discrete_columns_are_refused_with_ways_out(counts):
    with pytest.raises(ValueError, match=r"discrete columns number, rain: .*columns=.*dequantise.*keep"):
        Table(counts[0]).load()
    assert Table(counts[0], columns=["size"]).load().variables == 1
    data = Table(counts[0], discrete="keep", standardize=False, shuffle=False).load()
    np.testing.assert_array_equal(data.train.x, counts[1][:80])


def test_discrete_columns_are_dequantised_with_a_stated_width(counts):
    path, rows = counts
    source = Table(path, discrete="dequantise", width={"number": 1, "rain": 0.5}, shuffle=False, standardize=False)
    data = source.load()
    noise = data.train.x.numpy() - rows[:80]
    assert np.all(noise[:, 0] == 0)
    assert np.all((noise[:, 1:] >= 0) & (noise[:, 1:] < [1, 0.5]))
    assert noise[:, 1].std() == pytest.approx(1 / np.sqrt(12), rel=0.2)
    assert data.provenance["dequantised"] == {"number": 1.0, "rain": 0.5}
    torch.testing.assert_close(source.load().test.x, data.test.x, rtol=0, atol=0)
    assert Table(path, discrete="dequantise", width=1.0).load().provenance["dequantised"].keys() == {
        "number",
        "rain",
    }


def test_width_must_be_stated(counts):
    with pytest.raises(ValueError, match=r"smallest gaps of values: 'number': 1, 'rain'"):
        Table(counts[0], discrete="dequantise").load()
    with pytest.raises(ValueError, match="'rain'"):
        Table(counts[0], discrete="dequantise", width={"number": 1}).load()
    with pytest.raises(ValueError, match="positive"):
        Table(counts[0], discrete="dequantise", width=-1.0).load()
    with pytest.raises(ValueError, match="unknown column 'numbr'; did you mean 'number'"):
        Table(counts[0], discrete="dequantise", width={"number": 1, "rain": 1, "numbr": 1}).load()
    with pytest.raises(ValueError, match="width is for"):
        Table(counts[0], width=1.0)


def test_rounded_measurements_are_not_discrete():
    assert not is_discrete(np.round(RNG.normal(size=2000), 2))
    assert not is_discrete(np.array([1.0, 2.0, 3.0, 4.0]))
    assert is_discrete(np.array([0.0, 1.0, np.nan, 1.0, 0.0, 1.0]))


def test_splits_may_be_files_of_their_own(tmp_path):
    for name, part in (("train", ROWS[:80]), ("valid", ROWS[80:90]), ("test", ROWS[90:])):
        write(tmp_path / f"{name}.csv", csv_text(part, "abc"))
    data = Table("train.csv", valid="valid.csv", test="test.csv", standardize=False).load(tmp_path)
    np.testing.assert_array_equal(torch.cat([data.train.x, data.valid.x, data.test.x]), ROWS)
    assert len(data.provenance["files"]) == 3
    write(tmp_path / "test.csv", csv_text(ROWS[90:], "acb"))
    with pytest.raises(CorruptDataError, match="columns of test are a, c, b; expected those of train, a, b, c"):
        Table("train.csv", valid="valid.csv", test="test.csv").load(tmp_path)
    with pytest.raises(ValueError, match="both be numbers or both be files"):
        Table("train.csv", valid="valid.csv")


def test_npz_may_hold_the_splits(tmp_path):
    np.savez(tmp_path / "a.npz", train=ROWS[:80], valid=ROWS[80:90], test=ROWS[90:], more=np.ones(3))
    data = Table(tmp_path / "a.npz", standardize=False).load()
    assert data.provenance["split"]["rule"] == "three arrays, as given"
    np.testing.assert_array_equal(data.test.x, ROWS[90:])
    np.savez_compressed(tmp_path / "b.npz", ROWS.astype(np.float32))
    assert len(Table(tmp_path / "b.npz").load().train.x) == 80
    np.savez(tmp_path / "c.npz", a=ROWS, b=ROWS)
    with pytest.raises(CorruptDataError, match="got 2 arrays"):
        Table(tmp_path / "c.npz").load()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[object()]]), "pickled objects are never read"),
        (np.ones(5), r"2-D array of numbers, got shape \(5,\)"),
        (np.array([["a", "b"]]), "type <U1"),
        (np.array([[1.0, np.inf]]), "row 0, column 1: expected a finite number, got inf"),
    ],
)
def test_arrays_that_are_no_tables_are_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(CorruptDataError, match=message):
        Table(tmp_path / "a.npy").load()


def test_file_that_is_no_array_is_refused(tmp_path):
    for name in ("a.npy", "a.npz"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 broken")
        with pytest.raises(CorruptDataError, match="plain numpy arrays"):
            Table(tmp_path / name).load()


def test_relative_path_is_found_here_and_under_the_roots(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "root").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("LOGPROB_DATA", str(tmp_path / "root"))
    with pytest.raises(MissingDataError, match=r"a\.npy"):
        Table("a.npy").load()
    np.save(tmp_path / "root" / "a.npy", ROWS)
    assert len(Table("a.npy").load().train.x) == 80
    np.save(tmp_path / "here" / "a.npy", ROWS[:50])
    assert len(Table("a.npy").load().train.x) == 40
    assert len(Table("a.npy").load(tmp_path / "root").train.x) == 80


def test_large_text_is_parsed_once(tmp_path, monkeypatch):
    path = write(tmp_path / "a.csv", csv_text(ROWS, "abc"))
    plain = Table(path).load()
    assert not cache_dir().exists()
    monkeypatch.setattr(tables, "CACHE_FROM_BYTES", 0)
    first = Table(path).load()
    monkeypatch.setattr(tables, "read_numeric_text", None)  # a second parse would fail
    second = Table(path).load()
    for data in (first, second):
        assert data.provenance == plain.provenance
        torch.testing.assert_close(data.test.x, plain.test.x, rtol=0, atol=0)


def test_unknown_column_is_named(tmp_path):
    path = write(tmp_path / "a.csv", csv_text(ROWS, ["height", "weight", "age"]))
    assert Table(path, columns=["age", "height"]).load().provenance["columns"] == ["age", "height"]
    with pytest.raises(ValueError, match="did you mean 'weight'"):
        Table(path, columns=["wait"]).load()
