"""What a user's own memory is worth: captions with and without it, where it fits and where it does not; as JSON.

    python benchmarks/taught.py --flickr8k data/flickr8k --coco data/coco --cache cache/choosing [--save]

Val pictures of both sets are captioned with memories of training pictures of the same set, of the other one, and of
thirty pictures of the other one. How much a memory counts is chosen for four fifths of the pictures and measured on the
others, in turn; what ships is measured beside it. An album is made of val pictures: each, cropped and brightened, is
remembered with one of its captions, and the picture itself is measured with the others. The cache is that of
benchmarks/choosing.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import choosing
import numpy as np
from choosing import RESULTS, Network, Picture, Study
from PIL import Image, ImageEnhance
from rich.progress import track

from fastcap.data.readers import load_dataset
from fastcap.evaluation.cider import CiderD
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.evaluation.ranking import FOLDS
from fastcap.release.memory import remembered_captions
from fastcap.runtime.bulk.learn import learn
from fastcap.runtime.bundle import Bundle, find_model
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.memory import Memory
from fastcap.runtime.ranking import Ranker
from fastcap.runtime.taught import NEAR, RANKING, Taught, TaughtRanker, nearness

SETS = choosing.SETS
WAYS = {"parallel 4": "parallel", "beam 8": "search"}
SHARPNESS = RANKING.sharpness
NEIGHBOURS, WEIGHTS, NEARS = (5, 10, 30), (0.0, 0.05, 0.1, 0.2, 0.3, 0.4), ((0.5, 0.9), (0.6, 0.9), (0.7, 0.95))
FITTED = {"flickr8k": ("Flickr8k", "Flickr8k, 1,000"), "coco": ("COCO", "COCO, 1,000")}
FOREIGN = {"flickr8k": ("COCO", "30 of COCO"), "coco": ("Flickr8k", "30 of Flickr8k")}
LEARNT = 1000  # pictures whose learning is timed
ALBUM = 200  # pictures
SEED = 0


class Settings(NamedTuple):
    """How much a memory counts."""

    neighbours: int
    weight: float
    near: tuple[float, float]


def shipped(way: str) -> Settings:
    """How much it counts for candidates that were found in this way."""
    weights = RANKING.weights.get(WAYS[way])
    return Settings(RANKING.neighbours, weights.similarity if weights else 0.0, NEAR)


class Asked(NamedTuple):
    """A picture's candidates beside a memory: how the model directory ranks them, in units of a logarithm of
    probability (K,), similarities (K,) by number of neighbours, the cosine of the nearest picture, CIDEr (K,), and
    which are whole (K,)."""

    own: np.ndarray
    similarity: dict[int, np.ndarray]
    cosine: float
    gains: np.ndarray
    whole: np.ndarray

    def gain(self, settings: Settings) -> float:
        share = settings.weight * nearness(self.cosine, settings.near)
        order = np.argsort(-(self.own + share * self.similarity[settings.neighbours]), kind="stable").tolist()
        return float(self.gains[next((place for place in order if self.whole[place]), order[0])])


def main() -> None:
    """Measure; print or save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fastcap-base", help="bundled model or model directory (%(default)s)")
    parser.add_argument("--flickr8k", required=True, type=Path, help="folder of Flickr8k")
    parser.add_argument("--coco", required=True, type=Path, help="folder of COCO, with machine captions")
    parser.add_argument("--cache", required=True, type=Path, help="folder for vectors and candidates")
    parser.add_argument("--save", action="store_true", help="write JSON into benchmarks/results")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    bundle = Bundle.open(find_model(args.model))
    network, roots = Network(bundle, args.cache), {"flickr8k": args.flickr8k, "coco": args.coco}
    usual = choosing.plans
    choosing.plans = lambda bundle: {way: plan for way, plan in usual(bundle).items() if way in WAYS}
    study = Study(network, {name: load_dataset(name, roots[name], "val") for name in SETS})
    captions, vectors = training(network, roots)
    ranker = Ranker.open(bundle, network.tokenizer)
    asked = {
        (way, name, memory_name): [ask(picture, way, memory, ranker) for picture in study.pictures[name]]
        for memory_name, memory in memories(captions, vectors).items()
        for name in SETS
        if memory_name in (*FITTED[name], *FOREIGN[name])
        for way in WAYS
    }
    result = {
        "format": 1,
        "kind": "taught",
        "date": now(),
        "commit": git_commit(),
        "machine": machine_facts(),
        "model": bundle.name,
        "threads": 1,
        "seed": SEED,
        "folds": FOLDS,
        "command": "python benchmarks/taught.py --flickr8k DIR --coco DIR --cache DIR --save",
        "pictures": {name: len(pictures) for name, pictures in study.pictures.items()},
        "shipped": {way: shipped(way)._asdict() for way in WAYS},
        **table(asked),
        "album": album(network, study, captions["flickr8k"], vectors["flickr8k"]),
        "learning": learning(args.model, list(captions["flickr8k"].items())[:LEARNT]),
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text, end="")
    if args.save:
        (RESULTS / "taught.json").write_text(text, encoding="utf-8")


def training(
    network: Network, roots: Mapping[str, Path]
) -> tuple[dict[str, dict[Path, list[str]]], dict[str, np.ndarray]]:
    """Captions by training picture, people's alone, and the vectors of these pictures, by set."""
    flickr = remembered_captions([("flickr8k", roots["flickr8k"])], [])
    people = remembered_captions([(f"coco:{split}", roots["coco"]) for split in ("train", "more")], [])
    order = list(remembered_captions([(f"coco_machine:{split}", roots["coco"]) for split in ("train", "more")], []))
    coco = dict(zip(order, network.vectors("coco-train", order), strict=True))
    return {"flickr8k": flickr, "coco": people}, {
        "flickr8k": network.vectors("flickr8k-train", list(flickr)),
        "coco": np.stack([coco[image] for image in people]),
    }


def memories(captions: Mapping[str, dict[Path, list[str]]], vectors: Mapping[str, np.ndarray]) -> dict[str, Memory]:
    """Memories by name: all training pictures of a set, a thousand, thirty."""
    chance = np.random.default_rng(SEED)
    found = {}
    for name, title in (("flickr8k", "Flickr8k"), ("coco", "COCO")):
        texts = list(captions[name].values())
        for title_of, count in ((title, len(texts)), (f"{title}, 1,000", 1000), (f"30 of {title}", 30)):
            rows = np.sort(chance.permutation(len(texts))[:count])
            found[title_of] = memory = Memory()
            memory.add(vectors[name][rows], [texts[row] for row in rows])
    return found


def ask(picture: Picture, way: str, memory: Memory, ranker: Ranker | None) -> Asked:
    candidates, texts = picture.candidates[way], picture.texts[way]
    own = np.log([max(candidate.probability, 1e-9) for candidate in candidates])
    if ranker and (weights := ranker.weights(WAYS[way], picture.vector)):
        own = ranker.scores(candidates, picture.vector, WAYS[way]) / weights.log_p
    return Asked(
        own,
        {count: memory.similarity(picture.vector, texts, count, SHARPNESS) for count in NEIGHBOURS},
        memory.closest(picture.vector, 1)[0][1],
        np.array([picture.gains[text] for text in texts]),
        np.array([picture.whole[text] for text in texts]),
    )


def table(asked: Mapping[tuple[str, str, str], Sequence[Asked]]) -> dict[str, Any]:
    """CIDEr of each set and way with each memory: without it, with it as shipped, and crosswise."""
    grid = [Settings(*each) for each in itertools.product(NEIGHBOURS, WEIGHTS, NEARS)]
    rows, chosen = [], {}
    for way in WAYS:
        gains = {
            key[1:]: np.array([[p.gain(s) for s in grid] for p in rows_])
            for key, rows_ in asked.items()
            if key[0] == way
        }
        picks = [best(gains, fold) for fold in range(FOLDS)]
        chosen[way] = [grid[pick]._asdict() for pick in [*picks, best(gains, None)]]
        for (name, memory), table_ in gains.items():
            without = [p.gain(shipped(way)._replace(weight=0.0)) for p in asked[way, name, memory]]
            crosswise = [table_[place, picks[place % FOLDS]] for place in range(len(table_))]
            rows.append(
                {
                    "candidates": way,
                    "set": name,
                    "memory": memory,
                    "fits": memory in FITTED[name],
                    "cider_without": round(float(np.mean(without)), 2),
                    "cider": round(float(np.mean([p.gain(shipped(way)) for p in asked[way, name, memory]])), 2),
                    "cider_crosswise": round(float(np.mean(crosswise)), 2),
                }
            )
    return {"rows": rows, "fitted": chosen}


def best(gains: Mapping[tuple[str, str], np.ndarray], fold: int | None) -> int:
    """The settings whose CIDEr is highest on the mean of sets and memories, those that do not fit among them; measured
    on the pictures of the other folds."""
    means = [
        table_[[place for place in range(len(table_)) if fold is None or place % FOLDS != fold]].mean(axis=0)
        for table_ in gains.values()
    ]
    return int(np.argmax(np.mean(means, axis=0)))


def album(network: Network, study: Study, train: Mapping[Path, Sequence[str]], vectors: np.ndarray) -> dict[str, Any]:
    """Pictures of which the memory holds another shot: what is said, and what was said of that shot."""
    pictures = study.pictures["flickr8k"][:ALBUM]
    path = network.cache / f"vectors-album-{ALBUM}.npy"
    if not path.exists():
        shots = [network.encoded(shot(p.example.image)) for p in track(pictures, "album")]
        np.save(path, [network.engine.vector(each)[0] for each in shots])
    shots_ = np.load(path)
    shot_captions = {f"shot {place}": [p.example.captions[0]] for place, p in enumerate(pictures)}
    others = dict(itertools.islice(((str(image), texts) for image, texts in train.items()), 1000))
    taught = Taught.of(network.bundle, np.concatenate([shots_, vectors[: len(others)]]), {**shot_captions, **others})
    own = Ranker.open(network.bundle, network.tokenizer)
    ranker = TaughtRanker(taught, network.tokenizer, own)

    def by_itself(picture: Picture) -> str:
        candidates, texts = picture.candidates["parallel 4"], picture.texts["parallel 4"]
        scores = own.scores(candidates, picture.vector, "parallel") if own else np.zeros(len(texts))
        ordered = [texts[place] for place in np.argsort(-scores, kind="stable")]
        return next((text for text in ordered if picture.whole[text]), ordered[0])

    metric = CiderD({str(n): [ptb_tokens(text) for text in p.example.captions[1:]] for n, p in enumerate(pictures)})
    said: dict[str, list[float]] = {"without": [], "ranked": [], "neighbour": []}
    found = []
    for place, picture in enumerate(pictures):
        ranked = ranker.order(picture.candidates["beam 8"], picture.vector, "beam")
        text = dict(zip(map(id, picture.candidates["beam 8"]), picture.texts["beam 8"], strict=True))
        texts = [text[id(each)] for each in ranked]
        near = taught.neighbours(picture.vector)
        found.append(bool(near) and near[0].source == f"shot {place}")
        for way, words in (
            ("without", by_itself(picture)),
            ("ranked", next((each for each in texts if picture.whole[each]), texts[0])),
            ("neighbour", near[0].caption if near else ""),
        ):
            said[way].append(100 * metric.score(ptb_tokens(words), str(place)))
    return {
        "pictures": len(pictures),
        "others": len(others),
        "nearest_is_the_other_shot": round(float(np.mean(found)), 4),
        **{f"cider_{way}": round(float(np.mean(values)), 2) for way, values in said.items()},
    }


def shot(path: Path) -> Image.Image:
    """Another shot of the same: nine tenths of the picture, brighter."""
    image = Image.open(path).convert("RGB")
    width, height = image.size
    cut = image.crop((int(0.08 * width), int(0.05 * height), int(0.98 * width), int(0.95 * height)))
    return ImageEnhance.Brightness(cut).enhance(1.15)


def learning(model: str, examples: Sequence[tuple[Path, Sequence[str]]]) -> dict[str, Any]:
    """How long learning takes, without a cache."""
    captioner = Captioner.open(model)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "mine.memory"
        wall, cpu = time.monotonic(), time.process_time()
        learn(captioner, {str(image): texts for image, texts in examples}, out)
        facts = {"seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu}
        return {"pictures": len(examples), "bytes": out.stat().st_size, **{k: round(v, 1) for k, v in facts.items()}}


if __name__ == "__main__":
    main()
