"""Conversations about a picture as the text that a model reads: the same in training and when it answers.

A model has one template, such as `"question: {question} answer:"`. A conversation is, after the begin mark and for each
question: the template with the question in it, the answer, the end mark. Each part is tokenised by itself, so that a
prompt has the tokens that training had, whatever follows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from fastcap.errors import ConfigError, many, one_text
from fastcap.runtime.encoding import clean_caption, encode

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "ASSISTANT",
    "IMAGE_MARK",
    "MAX_QUESTION",
    "PLACE",
    "ROLES",
    "USER",
    "Conversation",
    "Turn",
    "check_turns",
    "clean_question",
    "encode_prompt",
    "encode_training",
    "parse_turns",
    "read_turns",
    "render",
    "without_image_mark",
]

USER, ASSISTANT = "user", "assistant"
ROLES = {"human": USER, "user": USER, "gpt": ASSISTANT, "assistant": ASSISTANT}
"""The words that files and requests use for who speaks."""
IMAGE_MARK = "<image>"
"""LLaVA's mark for the picture's place. Our models read the picture first, so that the mark says nothing more."""
PLACE = "{question}"
"""Where a template takes the question."""
MAX_QUESTION = 1000
"""Most characters of a question: ten times the longest of VQA v2; the rest of a language model's window is the
picture's and the answer's."""


class Turn(NamedTuple):
    """What one side says; `role` is `USER` or `ASSISTANT`."""

    role: str
    text: str


@dataclass(frozen=True)
class Conversation:
    """Questions and answers about a picture.

    Attributes:
        image: path of the picture, as text or Path; None where the picture is already at hand.
        turns: question and answer in turn, as `check_turns` gives them.
        answers: what several people answered to the last question; empty where one answer is known, that of the turns.
        kind: what sort of question it is ("yes/no", "number", "other", "existence", ...); "" where nobody said.
    """

    image: Any
    turns: tuple[Turn, ...]
    answers: tuple[str, ...] = ()
    kind: str = ""

    @property
    def question(self) -> str:
        """The last question."""
        return next(turn.text for turn in reversed(self.turns) if turn.role == USER)


def clean_question(text: str, what: str = "the question") -> str:
    """A question in the form that models read: cleaned as captions are.

    Raises:
        ConfigError: it is no text, has neither a letter nor a digit, or is longer than `MAX_QUESTION` characters.
    """
    one_text(text, what)
    if len(text) > MAX_QUESTION:
        raise ConfigError(f"{what} has {len(text):,} characters; allowed: 1 to {MAX_QUESTION:,}")
    cleaned = clean_caption(text)
    if not any(letter.isalnum() for letter in cleaned):
        got = "holds no words" if cleaned else "is empty"
        raise ConfigError(f"{what} {got}; needed: a text of 1 to {MAX_QUESTION:,} characters")
    return cleaned


def without_image_mark(texts: Sequence[str]) -> list[str]:
    """The texts of a conversation about one picture without `IMAGE_MARK`.

    Raises:
        ConfigError: the mark stands there twice.
    """
    count = sum(text.count(IMAGE_MARK) for text in texts)
    if count > 1:
        raise ConfigError(f"{IMAGE_MARK} stands {count} times in a conversation about one picture; allowed: once")
    return [text.replace(IMAGE_MARK, " ").strip() for text in texts]


def read_turns(messages: Any) -> list[Turn]:
    """Turns as files and requests have them: `{"from": "human", "value": "..."}` or `{"role": "user", "content":
    "..."}`, each.

    Raises:
        ConfigError: they are no list, a message lacks a key, a role is unknown, a text is none.
    """
    if isinstance(messages, (set, frozenset)):
        raise ConfigError("the conversation is a set; needed: a list of turns, whose order counts")
    return [_read_turn(message, place) for place, message in enumerate(many(messages, "turns"))]


def _read_turn(message: Any, place: int) -> Turn:
    """One message."""
    if not isinstance(message, Mapping):
        raise ConfigError(f'turn {place} is no mapping; needed: {{"from": "human", "value": "..."}}')
    known = ("from", "value") if "from" in message else ("role", "content")
    for key in known:
        if key not in message:
            raise ConfigError(f"turn {place} has no {key!r}; needed: 'from' and 'value', or 'role' and 'content'")
    return _turn(message[known[0]], message[known[1]], place)


def _turn(role: Any, text: Any, place: int) -> Turn:
    """A turn with a known role and a text."""
    if not isinstance(role, str) or role not in ROLES:
        raise ConfigError(f"turn {place} has the role {role!r}; allowed: {', '.join(ROLES)}")
    return Turn(ROLES[role], one_text(text, f"turn {place}"))


def _given_turn(turn: Any, place: int) -> Turn:
    """A turn as Python code gives it: a role and a text, or a message."""
    if isinstance(turn, Mapping):
        return _read_turn(turn, place)
    if not isinstance(turn, (tuple, list)) or len(turn) != 2:
        raise ConfigError(f"turn {place} is {turn!r:.60}; needed: a role and a text, such as ('user', 'a dog?')")
    return _turn(turn[0], turn[1], place)


def parse_turns(text: str, what: str) -> list[Turn]:
    """`read_turns` of a text in JSON, or of the `conversations` or `messages` of an object in it.

    Raises:
        ConfigError: it is no JSON, or as `read_turns`.
    """
    import json  # here, since captioning needs none of it

    try:
        messages = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{what} is no JSON ({str(error)[:100]}); needed: a list of turns") from None
    if isinstance(messages, dict):
        messages = next((messages[key] for key in ("conversations", "messages") if key in messages), messages)
    return read_turns(messages)


def check_turns(turns: Sequence[Turn], *, asks: bool) -> tuple[Turn, ...]:
    """The turns of one conversation, cleaned and without image marks.

    Args:
        asks: whether it ends with a question that is to be answered, or with an answer that is to be learnt.

    Raises:
        ConfigError: there is none; a role is unknown; user and assistant do not speak in turn, the user first; it ends
            with the wrong one; a text is none, empty or too long; the image mark stands there twice.
    """
    turns = [_given_turn(turn, place) for place, turn in enumerate(many(turns, "turns"))]
    if not turns:
        raise ConfigError("the conversation has no turn; needed: at least a question")
    for place, turn in enumerate(turns):
        due = (USER, ASSISTANT)[place % 2]
        if turn.role != due:
            raise ConfigError(f"turn {place} is the {turn.role}'s; needed: the {due}'s, since they speak in turn")
    end = USER if asks else ASSISTANT
    if turns[-1].role != end:
        needed = "with a question to answer" if asks else "with an answer"
        raise ConfigError(f"the conversation ends with the {turns[-1].role}; needed: that it ends {needed}")
    texts = without_image_mark([turn.text for turn in turns])
    checked = []
    for place, (turn, text) in enumerate(zip(turns, texts, strict=True)):
        if turn.role == USER:
            text = clean_question(text, "the question" if len(turns) <= 2 else f"turn {place}, a question,")
        else:
            text = clean_caption(text)
            if not text:
                raise ConfigError(f"turn {place}, an answer, is empty; needed: a text")
        checked.append(Turn(turn.role, text))
    return tuple(checked)


def render(turns: Sequence[Turn], template: str, end: str = "") -> str:
    """A conversation as one text, for people to read: what `encode_prompt` and `encode_training` tokenise in parts.

    Args:
        turns: of `check_turns`.
        end: how to write the end mark behind each answer.
    """
    words = [text + (end if learned else "") for text, learned in parts(turns, template)]
    return " ".join(words)


def parts(turns: Sequence[Turn], template: str) -> list[tuple[str, bool]]:
    """The texts that are tokenised one by one, and whether each is the assistant's.

    Raises:
        ConfigError: the template does not name the question's place once.
    """
    if template.count(PLACE) != 1:
        raise ConfigError(f"template is {template!r}; needed: {PLACE} in it, once")
    before, after = template.split(PLACE)
    return [(before + turn.text + after, False) if turn.role == USER else (turn.text, True) for turn in turns]


def encode_prompt(tokenizer: Tokenizer, turns: Sequence[Turn], template: str, eos_id: int) -> list[int]:
    """Token ids of a conversation that ends with a question, the begin mark not counted: the `prompt_ids` of a search.

    Args:
        turns: of `check_turns(..., asks=True)`.
        eos_id: the end mark, which stands behind every answer.
    """
    ids: list[int] = []
    for text, learned in parts(turns, template):
        ids += encode(tokenizer, text)
        ids += [eos_id] if learned else []
    return ids


def encode_training(
    tokenizer: Tokenizer, turns: Sequence[Turn], template: str, eos_id: int
) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation that ends with an answer, without the begin mark and the last end mark; and which of
    them are learnt, the last end mark at the end: one more. Learnt are the assistant's words and their end marks.

    Args:
        turns: of `check_turns(..., asks=False)`.
        eos_id: the end mark, which stands behind every answer.
    """
    ids: list[int] = []
    learned: list[bool] = []
    for text, answers in parts(turns, template):
        own = encode(tokenizer, text) + ([eos_id] if answers else [])
        ids += own
        learned += [answers] * len(own)
    return ids[:-1], learned
