"""Stores of rows: all give the same numbers, go on where they were interrupted, and hold no objects."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from fastcap.data.store import STORES, open_store
from fastcap.errors import ConfigError, DataError

PACKAGES = {"npy": "numpy", "lmdb": "lmdb", "hdf5": "h5py"}
SHAPE = (11, 2, 3)
VALUES = np.random.default_rng(0).normal(size=SHAPE).astype(np.float16)


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    pytest.importorskip(PACKAGES[request.param])
    return open_store(request.param, tmp_path / "cache")


def compute(rows: range):
    return VALUES[rows.start : rows.stop]


def kept(store, computing=compute, shape=SHAPE, key="a"):
    return store.rows(key, shape, computing, dtype=np.float16, chunk=4, progress=False)


def test_rows_are_read_as_an_array_is(store):
    rows = kept(store)
    assert tuple(rows.shape) == SHAPE
    images, views = np.array([9, 0, 9]), np.array([1, 0, 0])
    assert np.array_equal(rows[images, views], VALUES[images, views])
    assert np.array_equal(rows[[3, 1]], VALUES[[3, 1]])
    assert np.array_equal(rows[5], VALUES[5]) and np.array_equal(rows[-1], VALUES[-1])
    assert np.asarray(rows[2]).dtype == np.float16
    with pytest.raises(IndexError):
        rows[11]


def test_what_is_there_is_not_computed_again(store):
    kept(store)

    def never(rows: range):
        raise AssertionError("computed again")

    assert np.array_equal(kept(store, never, lambda: never(range(1)))[3], VALUES[3])
    assert np.array_equal(kept(open_store_again(store), never)[3], VALUES[3])


def open_store_again(store):
    return type(store)(store.folder)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_build_goes_on_where_it_stopped(store, error):
    asked: list[int] = []

    def failing(rows: range):
        if rows.start >= 8:
            raise error
        asked.extend(rows)
        return compute(rows)

    with pytest.raises((KeyboardInterrupt, DataError)):
        kept(store, failing)
    assert not (store.folder / f"a{store.suffix}").exists() and asked == list(range(8))

    def counting(rows: range):
        asked.extend(rows)
        return compute(rows)

    rows = kept(store, counting)
    assert asked == list(range(11))
    assert np.array_equal(rows[np.arange(11)], VALUES)


def test_a_build_of_another_shape_begins_anew(store):
    def failing(rows: range):
        if rows.start:
            raise KeyboardInterrupt
        return compute(rows)

    with pytest.raises(KeyboardInterrupt):
        kept(store, failing)
    rows = kept(store, lambda r: VALUES[r.start : r.stop, :1], shape=(11, 1, 3))
    assert np.array_equal(rows[np.arange(11)], VALUES[:, :1])


def test_damaged_files_are_named(store):
    kept(store)
    path = store.folder / f"a{store.suffix}"
    path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=path.name):
        kept(open_store_again(store))


def test_numbers_alone_are_kept(store):
    with pytest.raises((TypeError, ValueError, DataError)):
        store.rows("b", (1, 1), lambda rows: [np.array([{"a": 1}])], dtype=np.float32, progress=False)


def test_unknown_kinds_and_missing_packages_are_named(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="store is 'zarr'; allowed: npy, lmdb, hdf5"):
        open_store("zarr", tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for kind, name in (("lmdb", "lmdb"), ("hdf5", "h5py")):
        with pytest.raises(DataError, match=f"needs {name}: pip install"):
            open_store(kind, tmp_path)
