"""Whether captions are sentences, at any length and in neutral wording; as JSON.

Counted on the pictures of a split: captions that end early at each `--length`, and those with three words in a row
that people hardly ever wrote; `short` ones that are shorter; samples that hold a word which nobody wrote; and of
neutral captions those with a gendered word, with an adjective that has no noun, and with other content words than the
ordinary caption.

`python benchmarks/wording.py --root data/flickr8k [--texts data/text] [--split val] [--limit N] [--model NAME|DIR]`
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastcap.data.readers import Example, load_dataset
from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.runtime import english
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.gendered import AGES, GENDERED
from fastcap.runtime.neutral import gendered_words, neutral_wording
from fastcap.runtime.options import Sampling
from fastcap.runtime.text import ends_early, word_count

DECODES = (None, "parallel", "greedy")  # None: beam search, but for the length "normal"
# Adjectives of the captions' vocabulary that are no nouns; a list apart from the one that supplies the nouns.
ADJECTIVES = english.words("""
    young younger old older elderly little small smaller big bigger large larger huge tall short tiny wooden snowy
    grassy rocky sandy muddy dusty wet dry bald bearded shirtless barefoot topless pregnant colorful striped plaid
    stuffed crowded busy empty wooded narrow steep shallow dirty happy smiling excited fluffy furry shaggy brindle
    spotted redheaded blond blonde middle-aged teenage long wide male female
""")
NOUN_DUE = english.AUXILIARIES | english.PLAIN_PREPOSITIONS | english.words("while near . ! ?")


def lone_adjectives(text: str) -> list[str]:
    """Adjectives after an article or the like, of which the noun is missing: "young" of "A young is riding"."""
    words = re.findall(r"[^\W_]+(?:['’-][^\W_]+)*|[.!?]", text.lower())
    found = []
    for place, word in enumerate(words):
        start = place
        while start > 0 and words[start - 1] in ADJECTIVES | english.COLOURS | {"very"}:
            start -= 1
        after, then = [*words[place + 1 : place + 3], ".", "."][:2]
        sitting = after.endswith("ing") and after not in english.THINGS and then in english.FUNCTION_WORDS | NOUN_DUE
        determined = start > 0 and words[start - 1] in english.DETERMINERS - english.words("the")
        if word in ADJECTIVES and determined and (after in NOUN_DUE or sitting):
            found.append(word)
    return found


def content_words(text: str) -> Counter[str]:
    """The content words of a caption but those for people."""
    people = (
        {word for neutral in (*GENDERED.values(), *AGES.values()) for word in neutral.split()} | set(AGES) | {"two"}
    )
    words = re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text.lower())
    apart = english.FUNCTION_WORDS | people | {word.lower() for word in gendered_words(text)}
    return Counter(word for word in words if word.removesuffix("'s") not in apart)


def runs_of_three(text: str) -> list[tuple[str, ...]]:
    """Three words in a row, the start and the end of a caption counted as words."""
    words = ["<", *re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text.lower()), ">"]
    return list(zip(words, words[1:], words[2:], strict=False))


def is_odd(text: str, written: Counter[tuple[str, ...]]) -> bool:
    """Whether a caption holds three words in a row that fewer than two captions by people have. A word alone is judged
    by its end: hardly anybody writes captions of one word."""
    runs = runs_of_three(text)
    if len(runs) == 1:
        return not any(run[1:] == runs[0][1:] for run in written)
    return any(written[run] < 2 for run in runs)


def lengths(
    captioner: Captioner, examples: Sequence[Example], every: int, written: Counter[tuple[str, ...]]
) -> dict[str, Any]:
    """How captions of each length end and read, and how often a number of words is met; `short` of all pictures.
    `written`: how often people wrote three words in a row."""
    early: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    odd: dict[str, Counter[str]] = {}
    met: dict[str, Counter[int]] = {}
    shorter = 0
    limits = captioner.bundle.decoding
    for at, example in enumerate(examples):
        picture = captioner.encode(example.image)
        short, normal = (captioner.caption(picture, length=length).text for length in ("short", "normal"))
        shorter += word_count(short) < word_count(normal)
        if at % every:
            continue
        for decode in (decode for decode in DECODES if decode in (None, *captioner.bundle.decodes)):
            name = decode or "default"
            for length in (*limits.lengths, *range(limits.min_length, limits.max_length + 1)):
                text = captioner.caption(picture, length=length, decode=decode).text
                asked[name] += 1
                early[name] += ends_early(text)
                odd.setdefault(name, Counter())[str(length)] += is_odd(text, written)
                if isinstance(length, int):
                    met.setdefault(name, Counter())[abs(word_count(text) - length)] += 1
    return {
        "short_is_shorter": shorter / len(examples),
        "pictures": len(examples[::every]),
        "asked": dict(asked),
        "end_early": {name: early[name] for name in asked},
        "hold_words_that_hardly_anybody_wrote": {name: dict(counts) for name, counts in odd.items()},
        "words_from_the_number_asked_for": {
            name: {str(distance): count / counts.total() for distance, count in sorted(counts.items())}
            for name, counts in met.items()
        },
    }


def samples(captioner: Captioner, examples: Sequence[Example], known: set[str], sampling: Sampling) -> dict[str, Any]:
    """How many of a thousand samples hold a word that nobody wrote."""
    said = [
        caption.text
        for caption in captioner.caption([e.image for e in examples[:1000]], decode="sample", sampling=sampling)
    ]
    words = [re.findall(r"[^\W_]+", text.lower()) for text in said]
    unknown = [[word for word in row if word not in known] for row in words]
    return {
        "samples": len(said),
        "different": len(set(said)),
        "words": sum(map(len, words)),
        "unknown_words": sum(map(len, unknown)),
        "samples_with_one": sum(map(bool, unknown)),
    }


def neutral(captioner: Captioner, examples: Sequence[Example]) -> dict[str, Any]:
    """Neutral captions against ordinary ones, and many more of them by beam search and with other wordings."""
    same = alike = gendered = 0
    told: list[str] = []
    for example in examples:
        picture = captioner.encode(example.image)
        ordinary, wording = captioner.caption(picture), captioner.caption(picture, neutral=True)
        gendered += bool(gendered_words(ordinary.text))
        same += content_words(ordinary.text) == content_words(wording.text)
        alike += (ordinary.tokens, ordinary.confidence) == (wording.tokens, wording.confidence)
        told.append(wording.text)
        for decode in (decode for decode in ("parallel", "beam") if decode in captioner.bundle.decodes):
            most = captioner.bundle.decoding.max_candidates
            told += [
                each.text
                for each in captioner.caption(picture, neutral=True, decode=decode, candidates=most).candidates
            ]
    return {
        "ordinary_with_gendered_words": gendered,
        "content_words_unchanged": same / len(examples),
        "tokens_and_confidence_unchanged": alike / len(examples),
        "outputs": len(told),
        "different": len(set(told)),
        "with_gendered_words": sum(bool(gendered_words(text)) for text in told),
        "with_lone_adjectives": sum(bool(lone_adjectives(text)) for text in told),
    }


def references(examples: Sequence[Example]) -> dict[str, Any]:
    """What the rules make of sentences that people wrote."""
    texts = [text for example in examples for text in example.captions if gendered_words(text)]
    wordings = [(text, neutral_wording(text)) for text in texts]
    introduced = sum(len(lone_adjectives(new.text)) > len(lone_adjectives(text)) for text, new in wordings)
    return {
        "gendered": len(texts),
        "left_alone": sum(bool(new.left) for _, new in wordings),
        "lone_adjectives": introduced,
    }


def main() -> None:
    """Caption, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="folder of Flickr8k")
    parser.add_argument(
        "--texts",
        type=Path,
        help="folder of *.txt.gz, captions whose words are known, too; people's unless their name says machine",
    )
    parser.add_argument("--split", default="val", help="%(default)s")
    parser.add_argument("--limit", type=int, help="only the first N pictures")
    parser.add_argument(
        "--every", type=int, default=10, help="pictures of which one is tried at all lengths (%(default)s)"
    )
    parser.add_argument("--model", default="fastcap-base", help="%(default)s")
    parser.add_argument("--only", help="one of the parts: lengths, samples, samples_of_all_tokens, neutral, references")
    args = parser.parse_args()
    captioner = Captioner.open(args.model)
    examples = load_dataset("flickr8k", args.root, args.split)[: args.limit]
    train, val = (
        [text for e in load_dataset("flickr8k", args.root, split) for text in e.captions] for split in ("train", "val")
    )
    known = set(re.findall(r"[^\W_]+", "\n".join(train + val).lower()))
    for path in sorted(args.texts.glob("*.txt.gz")) if args.texts else ():
        text = gzip.decompress(path.read_bytes()).decode()
        known.update(re.findall(r"[^\W_]+", text.lower()))
        if "machine" not in path.name:
            train += text.splitlines()
    written = Counter(run for text in train for run in runs_of_three(text))
    parts = {
        "lengths": lambda: lengths(captioner, examples, args.every, written),
        "samples": lambda: samples(captioner, examples, known, Sampling()),
        "samples_of_all_tokens": lambda: samples(captioner, examples, known, Sampling(top_k=0, top_p=1.0)),
        "neutral": lambda: neutral(captioner, examples),
        "references": lambda: references(examples),
    }
    result = {
        "format": 1,
        "kind": "wording",
        "date": now(),
        "commit": git_commit(),
        "machine": machine_facts(),
        "images": len(examples),
        **{name: part() for name, part in parts.items() if args.only in (None, name)},
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
