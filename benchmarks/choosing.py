"""Choosing what to say: how good the chosen candidate is, against the time that it takes; as JSON and a plot.

    python benchmarks/choosing.py --flickr8k data/flickr8k --coco data/coco --cache cache/choosing [--save]

Candidates of the val pictures of both sets, in parallel and by beam search, are ranked by the network alone, by the
words that people would use of the picture (`fastcap.runtime.words`), by what they said of similar training pictures
(`fastcap.runtime.memory`), and by more. The weights are fitted to the pictures of both sets, for CIDEr-D and a share of
BLEU-4 (`fastcap.evaluation.ranking.worth`); each picture is captioned with weights fitted to four fifths of them, of
which it is none. (A model directory has weights fitted to training pictures, `fastcap.release.memory`.) What takes long
is kept in the cache: vectors and candidates of a model whose graphs are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from fastcap.data.readers import Example, load_dataset
from fastcap.evaluation.bleu import bleu
from fastcap.evaluation.cider import CiderD
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.evaluation.meteor import meteor
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.evaluation.ranking import USED, Judged, cross_fitted, worth
from fastcap.release.memory import MemorySettings, remembered_captions
from fastcap.release.words import fit_words
from fastcap.runtime.bundle import Bundle, find_model
from fastcap.runtime.contract import Ranking, Weights
from fastcap.runtime.encoding import decode
from fastcap.runtime.engine import ENGINES, Decoded, Encoded
from fastcap.runtime.images import ImageSource, load_image
from fastcap.runtime.memory import Memory
from fastcap.runtime.options import Options, Plan
from fastcap.runtime.ranking import Ranker, features
from fastcap.runtime.text import ends_early, sentence
from fastcap.runtime.words import PictureWords

RESULTS = Path(__file__).parent / "results"
SETS = ("flickr8k", "coco")
TIMED = 100  # pictures
BY_CIDER = "words, for CIDEr alone"  # whose weights are fitted to that, and not to the length, as they were at first
RANKED_BY = {
    "probability": ("log_p",),
    "similarity": ("log_p", "similarity"),
    "words": USED,
    BY_CIDER: tuple(name for name in USED if name != "words"),
    "words, similarity": (*USED, "similarity"),
    "words, consensus": (*USED, "consensus"),
    "everything": Weights._fields,
}
PLOTTED = {
    "own order": "by the network",
    "similarity": "and by similar pictures",
    "words": "and by the picture's words",
}
HELD = {"memory": "similarity", "words": "expected"}
"""What may be kept beside a network, and the feature that asks it."""
VARIED = ("parallel 4", "beam 8")
SIMILARITY = Weights._fields.index("similarity")
WORDS = [Weights._fields.index(name) for name in ("expected", "information")]


def plans(bundle: Bundle) -> dict[str, Plan]:
    """The ways of finding candidates, by name."""
    most = Options(candidates=bundle.decoding.max_candidates).plan(bundle)
    ways = {f"parallel {count}": most._replace(decoded=count) for count in (3, 4, 5, 8)}
    return ways | {f"beam {beams}": Options(decode="beam", beams=beams).plan(bundle) for beams in (3, 8)}


def main() -> None:
    """Find candidates, unless they are in the cache; rank them; print or save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fastcap-base", help="bundled model or model directory (%(default)s)")
    parser.add_argument("--flickr8k", required=True, type=Path, help="folder of Flickr8k")
    parser.add_argument("--coco", required=True, type=Path, help="folder of COCO, with machine captions")
    parser.add_argument("--cache", required=True, type=Path, help="folder for vectors and candidates")
    parser.add_argument("--memories", action="store_true", help="measure memories of other pictures and sizes, too")
    parser.add_argument("--save", action="store_true", help="write JSON and plot into benchmarks/results")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    network = Network(Bundle.open(find_model(args.model)), args.cache)
    roots = {"flickr8k": args.flickr8k, "coco": args.coco}
    study = Study(network, {name: load_dataset(name, roots[name], "val") for name in SETS})
    sources = sources_of(network, roots)
    saved = json.loads((RESULTS / "choosing.json").read_text(encoding="utf-8"))
    result = {
        "format": 1,
        "kind": "choosing",
        "date": now(),
        "commit": git_commit(),
        "machine": machine_facts(),
        "model": network.bundle.name,
        "threads": 1,
        "pictures": {name: len(pictures) for name, pictures in study.pictures.items()},
        "folds": 5,
        "command": "python benchmarks/choosing.py --flickr8k DIR --coco DIR --cache DIR --save",
        **study.table(sources),
        "memories": study.memories(sources) if args.memories else saved["memories"],
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text, end="")
    if args.save:
        (RESULTS / "choosing.json").write_text(text, encoding="utf-8")
        plot(result, RESULTS / "choosing.png")


class Network:
    """A model's engine, and what it gives for pictures, kept in files."""

    def __init__(self, bundle: Bundle, cache: Path) -> None:
        self.bundle, self.tokenizer = bundle, bundle.tokenizer()
        self.engine = ENGINES[bundle.kind](bundle, 1)
        graphs = sorted((name, file.sha256) for name, file in bundle.files.items() if name.endswith(".onnx"))
        self.cache = cache / hashlib.sha256(repr(graphs).encode()).hexdigest()[:12]
        self.cache.mkdir(exist_ok=True)

    def encoded(self, image: ImageSource) -> Encoded:
        size = self.bundle.preprocessing
        return Encoded(load_image(image, (size.width, size.height))[None], self.engine)

    def vectors(self, name: str, images: Sequence[Path]) -> np.ndarray:
        """Vectors (P, A) of pictures."""
        path = self.cache / f"vectors-{name}.npy"
        if not path.exists():
            np.save(path, [self.engine.vector(self.encoded(image))[0] for image in track(images, f"vectors of {name}")])
        vectors = np.load(path)
        if len(vectors) != len(images):
            raise SystemExit(f"{path} holds {len(vectors)} vectors for {len(images)} pictures; remove it")
        return vectors

    def candidates(self, name: str, way: str, plan: Plan, examples: Sequence[Example]) -> list[list[Decoded]]:
        """What the network says of each picture; an interrupted run goes on where it was."""
        path = self.cache / f"{way.replace(' ', '')}-{name}.jsonl"
        done = path.read_text().count("\n") if path.exists() else 0
        with path.open("a") as file:
            for example in track(examples[done:], f"{way} of {name}", disable=done == len(examples)):
                row = [list(each) for each in self.engine.decode(self.encoded(example.image), plan)]
                file.write(json.dumps(row) + "\n")
        return [[Decoded(*each) for each in json.loads(line)] for line in path.read_text().splitlines()]


Source = tuple[np.ndarray, list[list[str]]]  # vectors (P, A) of pictures, and the captions of each


def sources_of(network: Network, roots: Mapping[str, Path]) -> dict[str, Source]:
    """Training pictures by name, with all that is said of them."""
    machine = [(f"coco_machine:{split}", roots["coco"]) for split in ("train", "more")]
    people = [(f"coco:{split}", roots["coco"]) for split in ("train", "more")]
    flickr = remembered_captions([("flickr8k", roots["flickr8k"])], [])
    coco, described = remembered_captions([*people, *machine], []), remembered_captions(people, [])
    order = list(remembered_captions(machine, []))
    vectors = dict(zip(flickr, network.vectors("flickr8k-train", list(flickr)), strict=True))
    vectors |= dict(zip(order, network.vectors("coco-train", order), strict=True))
    sets = {
        "Flickr8k": flickr,
        "people's": {**flickr, **described},
        "people's and machines'": {**flickr, **coco},
    }
    return {
        name: (np.stack([vectors[image] for image in captions]), list(captions.values()))
        for name, captions in sets.items()
    }


def memory_of(source: Source) -> Memory:
    """All that is said of these pictures."""
    memory = Memory()
    memory.add(*source)
    return memory


@dataclass
class Picture:
    """A val picture: its vector, its candidates by way, and of every text among these whether it is whole, its CIDEr-D
    x 100 against people, and what it is worth."""

    example: Example
    vector: np.ndarray
    candidates: dict[str, list[Decoded]]
    texts: dict[str, list[str]]
    whole: dict[str, bool]
    gains: dict[str, float]
    worth: dict[str, float]


class Study:
    """All figures."""

    def __init__(self, network: Network, sets: Mapping[str, Sequence[Example]]) -> None:
        self.network, self.plans = network, plans(network.bundle)
        self.pictures = {name: list(self._read(name, examples)) for name, examples in sets.items()}

    def _read(self, name: str, examples: Sequence[Example]) -> Iterator[Picture]:
        network = self.network
        found = {way: network.candidates(name, way, plan, examples) for way, plan in self.plans.items()}
        said = {str(place): [ptb_tokens(text) for text in e.captions] for place, e in enumerate(examples)}
        metric = CiderD(said)
        vectors = network.vectors(f"{name}-val", [example.image for example in examples])
        for place, example in enumerate(examples):
            candidates = {way: rows[place] for way, rows in found.items()}
            texts = {
                way: [sentence(decode(network.tokenizer, each.token_ids)) for each in rows]
                for way, rows in candidates.items()
            }
            different = {text for rows in texts.values() for text in rows}
            whole = {text: not ends_early(text) for text in different}
            gains = {text: metric.score(ptb_tokens(text), str(place)) for text in different}
            worths = {text: worth(gain, ptb_tokens(text), said[str(place)]) for text, gain in gains.items()}
            gains = {text: 100 * gain for text, gain in gains.items()}
            yield Picture(example, vectors[place], candidates, texts, whole, gains, worths)

    def table(self, sources: Mapping[str, Source]) -> dict[str, Any]:
        """The rows of the result, the times, and what words of other pictures are worth."""
        usual = MemorySettings()
        memory = memory_of(sources["people's"]).smaller(usual.entries, usual.least, usual.width)
        words = fit_words(*sources["people's"], usual.common)
        milliseconds = self.times(memory, words)
        base = {way: self.features(way, memory, words) for way in self.plans}
        rows = []
        for way in self.plans:
            ms = round(milliseconds["picture"] + milliseconds[way], 2)
            rows.append({"candidates": way, "ranked_by": "own order", "ms": ms, **self.measure(way, first)})
            rows.append({"candidates": way, "ranked_by": "people", **self.measure(way, best)})
            for by, used in RANKED_BY.items():
                if by == "probability" and way.startswith("parallel"):
                    continue  # the network's own order
                asked = sum(milliseconds[held] for held, name in HELD.items() if name in used)
                row = {"candidates": way, "ranked_by": by, "ms": round(ms + asked, 2)}
                choice = self.fitted(base[way], used, "gains" if by == BY_CIDER else "worth")
                rows.append({**row, **self.measure(way, choice)})
        return {"milliseconds": milliseconds, "rows": rows, "words": list(self.vocabularies(sources, base))}

    def memories(self, sources: Mapping[str, Source]) -> dict[str, Any]:
        """What memories of other pictures and sizes are worth, and when that was measured."""
        usual, words = MemorySettings(), fit_words(*sources["people's"])
        whole = {name: memory_of(source) for name, source in sources.items()}
        kept = {name: each.smaller(usual.entries, usual.least, usual.width) for name, each in whole.items()}
        base = {way: self.features(way, kept["people's"], words) for way in VARIED}
        facts = {"date": now(), "commit": git_commit()}
        return {**facts, "of": list(self.others(kept, base)), "sizes": list(self.sizes(whole["people's"], base))}

    def vocabularies(self, sources: Mapping[str, Source], base: Mapping[str, Features]) -> Iterator[dict[str, Any]]:
        """Words of other pictures, and more or fewer of them."""
        for name, common in (*((name, MemorySettings().common) for name in sources), ("people's", 4), ("people's", 30)):
            words = fit_words(*sources[name], common)
            words.save(path := self.network.cache / "words.npz")
            row = {"captions": name, "common": common, "words": len(words), "bytes": path.stat().st_size}
            for way in VARIED:
                row[way] = self.plain(way, self.changed(way, base[way], WORDS, words.score), "words")
            yield row

    def others(self, kept: Mapping[str, Memory], base: Mapping[str, Features]) -> Iterator[dict[str, Any]]:
        """Memories of other pictures, asked for other neighbours."""
        for way in VARIED:
            for name, memory in kept.items():
                for neighbours, sharpness in ((10, 0), (30, 0), (100, 0), (30, 40), (100, 40)):
                    asked = partial(memory.similarity, neighbours=neighbours, sharpness=sharpness)
                    about = {
                        "pictures": len(memory),
                        "captions": name,
                        "neighbours": neighbours,
                        "sharpness": sharpness,
                    }
                    given = self.changed(way, base[way], SIMILARITY, asked)
                    yield {"candidates": way, **about, **self.plain(way, given, "similarity")}

    def sizes(self, whole: Memory, base: Mapping[str, Features]) -> Iterator[dict[str, Any]]:
        """Memories that take less space."""
        for settings in (
            (10**6, 1, 128),
            (60, 3, 128),
            (48, 5, 64),
            (36, 5, 48),
            (36, 5, 32),
            (24, 5, 48),
            (24, 10, 32),
        ):
            path = self.network.cache / "memory.npz"
            whole.smaller(*settings).save(path)
            row = dict(zip(("entries", "least", "width"), settings, strict=True)) | {"bytes": path.stat().st_size}
            for way in VARIED:
                given = self.changed(way, base[way], SIMILARITY, Memory.open(path).similarity)
                row[way] = self.plain(way, given, "similarity")
            yield row

    def features(self, way: str, memory: Memory, words: PictureWords) -> Features:
        """Features (K, F) of each picture's candidates, by set."""
        return {
            name: [features(p.candidates[way], p.texts[way], p.vector, memory, USUAL, words=words) for p in pictures]
            for name, pictures in self.pictures.items()
        }

    def changed(self, way: str, base: Features, columns: Any, score: Callable[..., np.ndarray]) -> Features:
        """These features with other values of `score(vector, texts)` in these columns."""
        new = {name: [table.copy() for table in tables] for name, tables in base.items()}
        for name, pictures in self.pictures.items():
            for picture, table in zip(pictures, new[name], strict=True):
                table[:, columns] = score(picture.vector, picture.texts[way])
        return new

    def plain(self, way: str, given: Features, by: str) -> dict[str, Any]:
        """CIDEr of both sets, ranked by one of `RANKED_BY`."""
        return self.measure(way, self.fitted(given, RANKED_BY[by]))

    def fitted(self, given: Features, used: Sequence[str], to: str = "worth") -> Choice:
        """The choice by weights that are fitted to other pictures, to what `Picture` calls so."""

        def choose(way: str) -> Iterator[tuple[str, int, np.ndarray]]:
            places = [(name, place) for name in SETS for place in range(len(self.pictures[name]))]
            judged = [
                Judged(given[name][place], np.array([getattr(picture, to)[text] for text in picture.texts[way]]))
                for name, place in places
                for picture in [self.pictures[name][place]]
            ]
            for index, weights in cross_fitted(judged, used):
                yield *places[index], judged[index].features @ weights

        return choose

    def measure(self, way: str, choose: Choice) -> dict[str, Any]:
        """Figures of both sets."""
        chosen: dict[str, dict[int, str]] = {name: {} for name in SETS}
        given = choose(way) if choose not in (first, best) else choose(self, way)  # type: ignore[call-arg]
        for name, place, scores in given:
            picture = self.pictures[name][place]
            order = np.argsort(-scores, kind="stable").tolist()
            texts = [picture.texts[way][each] for each in order]
            chosen[name][place] = next((text for text in texts if picture.whole[text]), texts[0])
        return {name: scored(self.pictures[name], texts) for name, texts in chosen.items()}

    def times(self, memory: Memory, words: PictureWords) -> dict[str, float]:
        """Median CPU time in milliseconds of reading a picture, of each way and of ranking four candidates by each of
        `HELD`."""
        network, taken = self.network, {name: [] for name in ("picture", *self.plans, *HELD)}
        rankers = {}
        for held in HELD:
            used = RANKED_BY["similarity" if held == "memory" else "words"]
            weights = Weights(*(float(name in used) for name in Weights._fields))
            rankers[held] = Ranker(memory, USUAL._replace(weights={"parallel": weights}), network.tokenizer, words)
        for picture in track(self.pictures["flickr8k"][:: len(self.pictures["flickr8k"]) // TIMED], "times"):
            taken["picture"].append(timed(lambda: network.encoded(picture.example.image))[0])  # noqa: B023
            for way, plan in self.plans.items():
                encoded = network.encoded(picture.example.image)
                taken[way].append(timed(lambda: network.engine.decode(encoded, plan))[0])  # noqa: B023
            rows = picture.candidates["parallel 4"]
            for held, ranker in rankers.items():
                taken[held].append(timed(lambda: ranker.order(rows, picture.vector, "parallel"))[0])  # noqa: B023
        return {name: round(float(np.median(values[3:])), 2) for name, values in taken.items()}


USUAL = Ranking(MemorySettings().neighbours, MemorySettings().sharpness, {})
Features = dict[str, list[np.ndarray]]
Choice = Callable[..., Iterator[tuple[str, int, np.ndarray]]]
"""Set, place and the scores (K,) of the candidates of every picture."""


def first(study: Study, way: str) -> Iterator[tuple[str, int, np.ndarray]]:
    """The network's own order."""
    for name, pictures in study.pictures.items():
        yield from ((name, place, -np.arange(len(p.texts[way]))) for place, p in enumerate(pictures))


def best(study: Study, way: str) -> Iterator[tuple[str, int, np.ndarray]]:
    """What people's captions say is best: the most that any choice could give."""
    for name, pictures in study.pictures.items():
        for place, picture in enumerate(pictures):
            yield name, place, np.array([picture.gains[text] for text in picture.texts[way]])


def scored(pictures: Sequence[Picture], texts: Mapping[int, str]) -> dict[str, float]:
    """Metrics x 100 of the captions of these pictures, by place."""
    said = {str(place): ptb_tokens(text) for place, text in texts.items()}
    references = {str(place): [ptb_tokens(text) for text in pictures[place].example.captions] for place in texts}
    cider = float(np.mean([pictures[place].gains[text] for place, text in texts.items()]))
    values = {"cider": cider, "bleu_4": 100 * bleu(said, references)[3], "meteor": 100 * meteor(said, references)}
    return {name: round(value, 2) for name, value in values.items()}


def timed(run: Callable[[], object]) -> tuple[float, object]:
    """CPU time in milliseconds: the machine is shared."""
    started = time.process_time()
    result = run()
    return 1000 * (time.process_time() - started), result


def plot(result: Mapping[str, Any], path: Path) -> None:
    """CIDEr against milliseconds, by what candidates are ranked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2))
    for axis, name in zip(axes, SETS, strict=True):
        for by, marker in zip(PLOTTED, "o^s", strict=True):
            rows = [row for row in result["rows"] if row["ranked_by"] == by]
            axis.scatter(
                [row["ms"] for row in rows], [row[name]["cider"] for row in rows], marker=marker, label=PLOTTED[by]
            )
            for row in rows:
                axis.annotate(row["candidates"], (row["ms"], row[name]["cider"]), fontsize=7)
        axis.set(title=f"{name} val", xlabel="ms, picture to text, one thread (CPU time)", ylabel="CIDEr-D x 100")
        axis.legend(title="ranked", fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
