"""The page's endings, neutral wording and choice of captions are Python's. Needs Node.js, and nothing else."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from test_node import Node
from visiting import WEB

from fastcap.generation.autoregressive import Hypothesis, beam_search, every_length
from fastcap.runtime.contract import Decoding
from fastcap.runtime.engine import Decoded
from fastcap.runtime.english import words
from fastcap.runtime.gendered import GENDERED
from fastcap.runtime.neutral import gendered_words, neutral_wording, with_nouns
from fastcap.runtime.options import Plan
from fastcap.runtime.text import ends_early, is_garbled, lacks_noun, names_twice, sentence, word_count
from fastcap.runtime.wording import Wordings, with_sound_others

TABLES = json.loads((WEB.parent / "tests" / "runtime" / "neutral_wording.json").read_text(encoding="utf-8"))
PLAIN = sorted(
    words("""
        a an the and or is was runs . , ' s dog who his her he she not't of in - / Mr King 5 é ! quickly sits looks
        wearing two young police on red
        are man climbing off rock ball black little standing with one down over front group tennis dogs walks
    """)
)


@pytest.fixture(scope="module")
def run(program: str) -> Any:
    modules = "".join(
        f"const {name} = await import('{(WEB / f'{name}.js').as_uri()}');"
        for name in ("text", "neutral", "wording", "search")
    )
    return lambda body, **values: Node(program, None).run(modules + body, **values)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Those of the tables, and words thrown together."""
    drawn, gendered = random.Random(0), sorted(GENDERED)
    found = [text for rows in TABLES.values() for row in rows for text in row]
    for _ in range(4000):
        row = [drawn.choice(gendered if drawn.random() < 0.4 else PLAIN) for _ in range(drawn.randint(1, 10))]
        text = drawn.choice(["{}", "{}", "a {}.", "{}."]).format(" ".join(row))
        text = text.replace(" ' s", "'s").replace(" - ", "-") if drawn.random() < 0.5 else text
        found.append(drawn.choice([text, text, text, text.title(), text.upper()]))
    phrase = (("a", "a", "the", "two"), ("", "red", "black and white", "tennis"), ("dog", "dogs", "ball"))
    for _ in range(1000):
        row = [drawn.choice(kind) for _ in range(3) for kind in (*phrase, ("is on", "and", "with", "in", "holds"))]
        found.append(" ".join(" ".join(row[:-1]).split()))
    return found


def test_where_a_sentence_may_end(run, texts):
    body = """return values.texts.map((t) => [text.sentence(t), text.endsEarly(t), text.wordCount(t),
        text.lacksNoun(t), text.isGarbled(t), text.namesTwice(t)])"""
    found = run(body, texts=texts)
    judged = (sentence, ends_early, word_count, lacks_noun, is_garbled, names_twice)
    assert found == [[judge(t) for judge in judged] for t in texts]
    assert 20 < sum(map(names_twice, texts)) < len(texts) / 2


def test_neutral_wording(run, texts):
    body = """return values.texts.map((t) => [
        neutral.neutralWording(t), neutral.neutralWording(t, true), neutral.genderedWords(t), neutral.withNouns(t)])"""
    for text, (wording, always, listed, supplied) in zip(texts, run(body, texts=texts), strict=True):
        for told, forced in ((wording, False), (always, True)):
            expected = neutral_wording(text, forced)
            assert (told["text"], told["left"]) == (expected.text, list(expected.left)), text
        assert (listed, supplied) == (gendered_words(text), with_nouns(text)), text


def test_the_tables(run):
    for kind, rows in TABLES.items():
        function = "withNouns" if kind == "nouns that a model left out" else "neutralise"
        body = f"return values.texts.map((text) => neutral.{function}(text))"
        assert run(body, texts=[text for text, _ in rows]) == [neutral for _, neutral in rows], kind


class Words:
    """A tokenizer whose tokens are these words, each with a space before it."""

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        return "".join(f" {PLAIN[token]}" for token in ids)


@pytest.mark.parametrize("seed", range(40))
def test_which_captions_are_shown(run, seed):
    drawn = random.Random(seed)
    wanted = drawn.choice([None, None, *range(1, 9)])
    low, high = drawn.choice([(2, 9), (4, 4), (1, 12)])
    every = drawn.random() < 0.5
    neutral, beams = drawn.random() < 0.5, drawn.choice([1, 3])
    plan = Plan(low, high, 4, drawn.randint(1, 4), wanted, neutral, "beam", beams, None, every)
    captions = [
        (ids, drawn.random(), [drawn.random() for _ in ids], not every or drawn.random() < 0.6)
        for ids in ([drawn.randrange(len(PLAIN)) for _ in range(drawn.randint(1, 9))] for _ in range(8))
    ]
    limits = Decoding(passes=1, min_length=1, max_length=15, max_candidates=8, default_candidates=3, lengths={})
    wordings = Wordings(plan, Words())  # type: ignore[arg-type]
    wordings.add(Decoded(*caption) for caption in captions)
    further = wordings.further(limits)
    body = """const tokenizer = { decode: (ids) => ids.map((id) => ` ${values.words[id]}`).join('') };
              const wordings = new wording.Wordings(values.plan, tokenizer);
              const fields = ['ids', 'probability', 'each', 'sound'];
              const named = (caption) => Object.fromEntries(caption.map((value, at) => [fields[at], value]));
              wordings.add(values.captions.map(named));
              const best = wordings.best().map(([text, of]) => [text, fields.map((name) => of[name])]);
              const others = values.captions.map(named).map((of) => [text.sentence(tokenizer.decode(of.ids)), of]);
              const sound = wording.withSoundOthers(wordings.best(), others, values.plan);
              return [best, wordings.further(values.limits), sound.map(([text]) => text)];"""
    told, more, sound = run(body, words=PLAIN, plan=plan._asdict(), captions=captions, limits=limits._asdict())
    assert told == [[text, list(caption)] for text, caption in wordings.best()]
    others = [(sentence(Words().decode(caption[0])), Decoded(*caption)) for caption in captions]
    assert sound == [text for text, _ in with_sound_others(wordings.best(), others, plan)]
    assert (more and {name: more[name] for name in plan._asdict()}) == (further and further._asdict())


class Table:
    """A decoder whose next token depends on the last one alone; (V, V) log-probabilities."""

    def __init__(self, log_p: np.ndarray) -> None:
        self.log_p = log_p

    def start(self, image_state: Any, rows_per_image: int, prompt_ids: Any = ()) -> Any:
        return prompt_ids

    def step(self, token_ids: np.ndarray, state: Any, parents: np.ndarray) -> tuple[np.ndarray, Any]:
        return self.log_p[token_ids], state


@pytest.mark.parametrize("seed", range(12))
def test_searches_from_left_to_right(run, seed):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((9, 9))
    log_p = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)
    low, beams, repeat = int(rng.integers(0, 4)), int(rng.integers(1, 6)), int(rng.integers(2, 4))
    high = low + int(rng.integers(0, 5))
    limits = {"min_length": low, "max_length": high, "beams": beams, "bos_id": 0, "eos_id": 1, "forbidden": [0, 2]}
    [expected] = beam_search(Table(log_p), None, 1, **limits)
    every = every_length(Table(log_p), None, no_repeat=repeat, **limits)
    body = """const told = (ids) => ({
        log_p: { data: Float32Array.from(ids.flatMap((id) => values.log_p[id])), dims: [ids.length, 9] },
        past: ids,
      });
      const table = { apart: false, read: (prompts) => told(prompts.map(([id]) => id)), step: told };
      const asked = { ...values.asked, prompts: [[0]], marks: { bos: 0, eos: 1 }, forbidden: [0, 2] };
      const [best] = await search.beamSearch(table, {}, asked);
      return [best, await search.everyLength(table, {}, asked)];"""
    asked = {"low": low, "high": high, "beams": beams, "noRepeat": repeat}
    for told, wanted in zip(run(body, log_p=log_p.tolist(), asked=asked), (expected, every), strict=True):
        found = [Hypothesis(each["ids"], each["score"], each["logP"]) for each in told]
        assert [each.token_ids for each in found] == [each.token_ids for each in wanted]
        for one, other in zip(found, wanted, strict=True):
            assert one.log_p == pytest.approx(other.log_p, abs=1e-5)
            assert one.score == pytest.approx(other.score, abs=1e-5)


def test_what_the_modules_import_is_in_the_package():
    files = json.loads((WEB / "package.json").read_text())["files"]
    imported = {
        name.removeprefix("./")
        for path in files
        if path.endswith(".js")
        for name in (WEB / path).read_text(encoding="utf-8").split("'")
        if name.startswith("./") and name.endswith(".js")
    }
    assert imported <= set(files)
