"""A captioner goes to other processes as its directory and its number of threads, and is never copied within one."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastcap
from fastcap.errors import ConfigError, FastcapError, ImageError, ModelFileError
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.options import Options

COLOURS = [np.full((20, 30, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]


def again(value: Any, protocol: int = pickle.DEFAULT_PROTOCOL) -> Any:
    return pickle.loads(pickle.dumps(value, protocol))


def words(captioner: Captioner) -> list[str]:
    return [captioner.caption(picture).text for picture in COLOURS]


# Within a process

WAYS: dict[str, Callable[[Captioner], Captioner]] = {
    **{f"pickle, protocol {n}": partial(again, protocol=n) for n in range(pickle.HIGHEST_PROTOCOL + 1)},
    "the pickle of multiprocessing": lambda captioner: pickle.loads(ForkingPickler.dumps(captioner)),
    "a pickle of a pickle": lambda captioner: again(again(captioner)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy of a list": lambda captioner: copy.deepcopy([captioner])[0],
    "pickle of a method": lambda captioner: again(captioner.caption).__self__,
    "pickle of a partial": lambda captioner: again(partial(captioner.caption, length="short")).func.__self__,
    "pickle within a dict": lambda captioner: again({"model": captioner, "options": Options()})["model"],
}


@pytest.mark.parametrize("way", WAYS)
def test_what_comes_out_captions_alike(way, captioner):
    other = WAYS[way](captioner)
    assert type(other) is Captioner
    assert other.bundle == captioner.bundle
    assert words(other) == words(captioner)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_goes_along(threads, tiny_bundle):
    assert again(fastcap.load_model(tiny_bundle, threads=threads))._threads == threads
    assert copy.deepcopy(fastcap.load_model(tiny_bundle, threads=threads))._threads == threads


def test_a_pickle_holds_a_name_or_a_path_and_no_weights(captioner, tiny_bundle):
    assert len(pickle.dumps(captioner)) < 1000
    assert str(tiny_bundle).encode() in pickle.dumps(captioner)
    bundled = fastcap.load_model()
    # By its name: the package may be installed elsewhere on the machine that opens it.
    assert os.fspath(bundled.bundle.folder.parent).encode() not in pickle.dumps(bundled)
    assert again(bundled).bundle.name == bundled.bundle.name == "fastcap-base"


def test_a_pickle_that_comes_often_is_opened_once(captioner):
    """`Pool.imap` sends a captioner along with every picture."""
    data = pickle.dumps(captioner)
    assert pickle.loads(data) is pickle.loads(data)
    assert pickle.loads(data) is again(captioner.caption).__self__


def test_a_directory_that_was_replaced_is_opened_anew(own_bundle, captioner):
    data = pickle.dumps(fastcap.load_model(own_bundle))
    first = pickle.loads(data)
    shutil.rmtree(own_bundle)
    shutil.copytree(captioner.bundle.folder, own_bundle)
    assert pickle.loads(data) is not first


def test_the_working_directory_may_change(own_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(own_bundle.parent)
    captioner = fastcap.load_model(own_bundle.name)
    data = pickle.dumps(captioner)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert words(pickle.loads(data)) == words(captioner)
    assert words(again(captioner)) == words(captioner)
    assert captioner.bundle.tokenizer().get_vocab_size()


def test_a_directory_that_is_gone_or_damaged_says_so(own_bundle):
    data = pickle.dumps(fastcap.load_model(own_bundle))
    (own_bundle / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(ModelFileError, match=r"model\.onnx"):
        pickle.loads(data)
    shutil.rmtree(own_bundle)
    with pytest.raises(ModelFileError, match=r"own"):
        pickle.loads(data)


def test_a_class_of_ones_own_stays_one(tiny_bundle):
    own = Own.open(tiny_bundle)
    assert type(again(own)) is Own
    assert words(again(own)) == words(own)


class Own(Captioner):
    pass


@pytest.mark.parametrize("kind", ["parallel", "autoregressive"])
def test_the_eager_captioner_is_its_checkpoint(kind, golden):
    pytest.importorskip("torch", reason="needs the extra `train`")
    from fastcap.eager import checkpoint_captioner

    captioner = checkpoint_captioner(golden / kind / "checkpoint")
    assert len(pickle.dumps(captioner)) < 1000
    assert words(again(captioner)) == words(copy.deepcopy(captioner)) == words(captioner)


def test_an_engine_without_a_way_to_open_it_says_what_to_do(captioner):
    given = Captioner(captioner.bundle, engine=captioner._engine)
    with pytest.raises(ConfigError, match="load the model in each process"):
        pickle.dumps(given)
    assert copy.deepcopy(given) is given


def test_an_encoded_picture_stays_and_says_so(captioner):
    encoded = captioner.encode(COLOURS[0])
    with pytest.raises(ConfigError, match="encode it in each process"):
        pickle.dumps(encoded)
    # A copy of both still fits together.
    both = copy.deepcopy({"captioner": captioner, "picture": encoded})
    assert both["captioner"].caption(both["picture"]).text == captioner.caption(COLOURS[0]).text
    assert copy.copy(encoded) is encoded


@pytest.mark.parametrize(
    "make",
    [
        lambda captioner: captioner.caption(COLOURS[0], candidates=3),
        lambda captioner: captioner.caption(COLOURS),
        lambda captioner: Options(length="short", candidates=2),
        lambda captioner: fastcap.Sampling(temperature=0.5),
        lambda captioner: captioner.bundle,
        lambda captioner: captioner.bundle.vocabulary,
    ],
    ids=["caption", "captions", "options", "sampling", "bundle", "vocabulary"],
)
@pytest.mark.parametrize("way", [again, copy.copy, copy.deepcopy])
def test_all_that_is_public_travels(make, way, captioner):
    value = make(captioner)
    assert way(value) == value


@pytest.mark.parametrize("kind", [FastcapError, ImageError, ModelFileError, ConfigError, fastcap.DataError])
def test_errors_come_back_from_other_processes_as_they_are(kind):
    error = again(kind("a.jpg: no such file"))
    assert (type(error), str(error)) == (kind, "a.jpg: no such file")


# Between processes


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_pool_maps_a_method_over_pictures(method, captioner):
    with multiprocessing.get_context(method).Pool(1) as pool:
        captions = pool.map(captioner.caption, COLOURS)
        assert [caption.text for caption in captions] == words(captioner)
        assert [caption.text for caption in pool.imap(captioner.caption, COLOURS)] == words(captioner)
        with pytest.raises(ImageError, match="no such file"):
            pool.apply(captioner.caption, (Path("/nowhere/a.jpg"),))


def test_an_executor_takes_one_with_threads_and_options(tiny_bundle):
    captioner = fastcap.load_model(tiny_bundle, threads=2)
    job = partial(captioner.caption, options=replace(Options(), length="short"))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        captions = list(executor.map(job, COLOURS))
    assert [caption.text for caption in captions] == [job(picture).text for picture in COLOURS]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_fork_captions_with_what_it_inherits(threads, tiny_bundle):
    captioner = fastcap.load_model(tiny_bundle, threads=threads)
    expected = words(captioner)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=lambda: results.put(words(captioner)))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert results.get() == expected


def test_a_bundle_is_found_by_another_path(tiny_bundle, tmp_path):
    (tmp_path / "link").symlink_to(tiny_bundle)
    assert words(again(Captioner(Bundle.open(tmp_path / "link")))) == words(fastcap.load_model(tiny_bundle))
