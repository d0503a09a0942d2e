"""Captions made into neutral alternative text, each kept beside its original and checked.

By rules (`rules`), or by a language model behind an endpoint (`endpoint`). Every row says what is still mentioned and
which rules of alternative text it breaks, whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from fastcap.curation.bias import mentions
from fastcap.curation.endpoint import Answers, Endpoint
from fastcap.curation.rules import INVISIBLE, rewrite_by_rules
from fastcap.runtime.lint import lint

__all__ = ["Rewritten", "needs_rewriting", "rewrite_captions", "to_ask"]


@dataclass(frozen=True)
class Rewritten:
    """A caption and what became of it.

    `written_by`: "rules", a model's name, or "nobody" for a caption that was left as it is.
    `mentions_left`: what it still mentions of the categories, "religion: priest".
    `mentions_added`: what it mentions and the original does not; a model may guess.
    `lint`: the rules of alternative text that it breaks.
    `problem`: why a caption that needed it was not rewritten; else "".
    """

    original: str
    caption: str
    written_by: str
    mentions_left: tuple[str, ...]
    mentions_added: tuple[str, ...]
    lint: tuple[str, ...]
    problem: str = ""

    @property
    def passes(self) -> bool:
        """Whether no check has anything to say."""
        return not (self.mentions_left or self.mentions_added or self.lint or self.problem)


def needs_rewriting(caption: str, categories: Collection[str] = INVISIBLE) -> bool:
    """Whether a caption mentions one of the categories, or breaks a rule of alternative text."""
    return bool(lint(caption)) or any(one.category in categories for one in mentions(caption))


def _checked(original: str, caption: str, written_by: str, categories: Collection[str], problem: str = "") -> Rewritten:
    before = {(one.category, one.text.lower()) for one in mentions(original)}
    after = [one for one in mentions(caption) if one.category in categories]
    left = dict.fromkeys(f"{one.category}: {one.text}" for one in after)
    added = dict.fromkeys(
        f"{one.category}: {one.text}" for one in after if (one.category, one.text.lower()) not in before
    )
    rules = tuple(finding.rule for finding in lint(caption))
    return Rewritten(original, caption, written_by, tuple(left), tuple(added), rules, problem)


def rewrite_captions(
    captions: Sequence[str],
    categories: Collection[str] = INVISIBLE,
    *,
    endpoint: Endpoint | None = None,
    answers: Answers | None = None,
    batch: int = 20,
    everything: bool = False,
    on_caption: Callable[[], object] = lambda: None,
) -> list[Rewritten]:
    """Each caption rewritten and checked, in order.

    Args:
        captions: texts; the same text is asked for once.
        categories: what is to be left out, of `bias.CATEGORIES`.
        endpoint: the model to ask, in place of rules; `answers` keeps what it said, and is needed then.
        batch: captions of one request (20: fewer tokens for the prompt, and an odd answer costs little).
        everything: ask about captions that need no rewriting, too.
        on_caption: called for each caption that is done.

    Raises FastcapError when the endpoint refuses or does not answer; what it has answered is kept in `answers`.
    """
    if endpoint is None:
        found = []
        for caption in captions:
            text = rewrite_by_rules(caption, categories)
            found.append(_checked(caption, text, "rules" if text != caption else "nobody", categories))
            on_caption()
        return found
    assert answers is not None, "an endpoint's answers need a place"
    asked = to_ask(captions, categories, answers, everything)
    for start in range(0, len(asked), batch):
        part = asked[start : start + batch]
        answered = dict(zip(part, endpoint.rewrite(part), strict=True))
        answers.add({caption: answer for caption, answer in answered.items() if answer is not None})
        for _ in part:
            on_caption()
    found = []
    for caption in captions:
        answer = answers.get(caption)
        if answer is not None:
            found.append(_checked(caption, answer, endpoint.model, categories))
        else:
            wanted = everything or needs_rewriting(caption, categories)
            problem = "the model's answers were no captions" if wanted else ""
            found.append(_checked(caption, caption, "nobody", categories, problem))
    return found


def to_ask(captions: Sequence[str], categories: Collection[str], answers: Answers, everything: bool) -> list[str]:
    """The captions that a model is still to be asked about, each once."""
    once = dict.fromkeys(caption for caption in captions if answers.get(caption) is None)
    return [caption for caption in once if everything or needs_rewriting(caption, categories)]
