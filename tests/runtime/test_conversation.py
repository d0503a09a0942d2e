"""Conversations as the text that a model reads: what is refused, what is learnt, and that a prompt is the beginning of
what training read."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from fastcap.data.tokenizer import train_tokenizer
from fastcap.errors import ConfigError
from fastcap.runtime.conversation import (
    ASSISTANT,
    USER,
    Turn,
    check_turns,
    encode_prompt,
    encode_training,
    read_turns,
    render,
)

TEMPLATE = "question: {question} answer:"
TALK = [
    Turn(USER, "<image>\nIs there a Dog?"),
    Turn(ASSISTANT, "Yes."),
    Turn(USER, "what colour is it?"),
    Turn(ASSISTANT, "black and white"),
]
EOS = 2


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["question: is there a dog? answer: yes", "what colour is it? black and white"], 320)


def test_a_conversation_is_the_template_with_each_question_and_its_answer() -> None:
    turns = check_turns(TALK, asks=False)
    assert render(turns, TEMPLATE, end=" |") == (
        "question: is there a dog? answer: yes | question: what colour is it? answer: black and white |"
    )


def test_learnt_are_the_assistants_words_and_end_marks_alone(tokenizer: Tokenizer) -> None:
    ids, learned = encode_training(tokenizer, check_turns(TALK, asks=False), TEMPLATE, EOS)
    targets = [*ids, EOS]
    assert len(learned) == len(targets)
    assert tokenizer.decode([i for i, own in zip(targets, learned, strict=True) if own], skip_special_tokens=False) == (
        " yes<eos> black and white<eos>"
    )


@pytest.mark.parametrize("answered", [0, 1])
def test_a_prompt_is_the_beginning_of_what_training_read(tokenizer: Tokenizer, answered: int) -> None:
    ids, learned = encode_training(tokenizer, check_turns(TALK, asks=False), TEMPLATE, EOS)
    prompt = encode_prompt(tokenizer, check_turns(TALK[: 2 * answered + 1], asks=True), TEMPLATE, EOS)
    assert ids[: len(prompt)] == prompt
    assert learned[len(prompt)] and not learned[len(prompt) - 1]


def test_marks_in_a_question_are_text(tokenizer: Tokenizer) -> None:
    turns = check_turns([Turn(USER, "<eos> {question} <pad>?")], asks=True)
    ids = encode_prompt(tokenizer, turns, TEMPLATE, EOS)
    assert EOS not in ids
    assert tokenizer.decode(ids).strip() == "question: <eos> {question} <pad>? answer:"


def test_both_conventions_of_messages_are_read() -> None:
    ours = read_turns([{"from": "human", "value": "what?"}, {"from": "gpt", "value": "a dog"}])
    theirs = read_turns([{"role": "user", "content": "what?"}, {"role": "assistant", "content": "a dog"}])
    assert ours == theirs == [Turn(USER, "what?"), Turn(ASSISTANT, "a dog")]


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ("what?", "got one text; needed: a list of turns"),
        ([["human", "what?"]], "turn 0 is no mapping"),
        ([{"from": "human"}], "turn 0 has no 'value'"),
        ([{"value": "what?"}], "turn 0 has no 'role'"),
        ([{"from": "robot", "value": "what?"}], "the role 'robot'; allowed: human, user, gpt, assistant"),
        ([{"from": ["human"], "value": "what?"}], "allowed: human"),
        ([{"from": "human", "value": 7}], "turn 0 is the int 7; needed: a text"),
    ],
)
def test_what_is_no_list_of_messages_is_refused(messages: object, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_turns(messages)


@pytest.mark.parametrize(
    ("turns", "asks", "told"),
    [
        ([], True, "no turn"),
        ([(USER, " \n. ")], True, "the question is empty"),
        ([(USER, "<image>")], True, "the question is empty"),
        ([(USER, "???")], True, "the question holds no words; needed: a text of 1 to 1,000 characters"),
        ([(USER, "a" * 10_000)], True, "10,000 characters; allowed: 1 to 1,000"),
        ([(USER, "what?")], False, "ends with the user; needed: that it ends with an answer"),
        ([(USER, "what?"), (ASSISTANT, "a dog")], True, "ends with the assistant"),
        ([(ASSISTANT, "a dog")], False, "turn 0 is the assistant's; needed: the user's"),
        ([(USER, "what?"), (USER, "where?")], True, "turn 1 is the user's"),
        ([(USER, "what?"), (ASSISTANT, " ")], False, "turn 1, an answer, is empty"),
        ([(USER, "<image> what?"), (ASSISTANT, "<image> a dog")], False, "<image> stands 2 times"),
        ([(USER, "<image><image> what?")], True, "<image> stands 2 times"),
        ([(USER, 7)], True, "turn 0 is the int 7"),
    ],
)
def test_what_is_no_conversation_is_refused(turns: list[tuple[str, str]], asks: bool, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_turns([Turn(*turn) for turn in turns], asks=asks)


@pytest.mark.parametrize("template", ["question:", "{question} or {question}", ""])
def test_a_template_names_the_questions_place_once(tokenizer: Tokenizer, template: str) -> None:
    with pytest.raises(ConfigError, match="in it, once"):
        encode_prompt(tokenizer, check_turns([Turn(USER, "what?")], asks=True), template, EOS)
