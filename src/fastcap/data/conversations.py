"""Conversations about pictures in files: JSON, JSON lines or a table; turns as LLaVA has them, or plain questions.

| file | a record |
| --- | --- |
| `.json` (a list of records, or one), `.jsonl` | a picture, and `conversations` (or `messages`), a list of turns |
| the same | a picture, `question`, and `answer` or `answers` |
| `.csv`, `.tsv` | the columns image, question, answer; `answers` is a JSON list, or texts between bars |

A turn is `{"from": "human", "value": "..."}` or `{"role": "user", "content": "..."}`. `answers` are what several people
said to the last question, `answer_type` (or `kind`) what sort of question it is. Pictures are absolute paths, or
relative to the file's folder or the `images/` in it.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastcap.data.formats import IMAGE_COLUMNS, Locator, numbered_lines, shown, table_cells, table_header
from fastcap.data.readers import BadRow, OnBadData, image_problem, printable
from fastcap.errors import MAX_BAD_SHARE, ConfigError, DataError, FastcapError
from fastcap.runtime.conversation import ASSISTANT, USER, Conversation, Turn, check_turns, read_turns

__all__ = ["KIND_COLUMNS", "Conversations", "load_conversations"]

TURN_KEYS = ("conversations", "messages")
KIND_COLUMNS = ("answer_type", "kind", "question_type")
FORMATS = (".json", ".jsonl", ".csv", ".tsv")


class Conversations(list[Conversation]):
    """The conversations of a file, with `n_rows` (records read) and `bad_rows` (those left out, and why)."""

    def __init__(self, conversations: Sequence[Conversation], n_rows: int, bad_rows: Sequence[BadRow]) -> None:
        super().__init__(conversations)
        self.n_rows, self.bad_rows = n_rows, tuple(bad_rows)


@dataclass(frozen=True)
class Record:
    """A record as read, where it stands, and what is wrong with it if it cannot be read."""

    where: str
    content: Any
    problem: str = ""


def load_conversations(
    path: str | Path,
    *,
    on_bad_data: OnBadData = "raise",
    max_bad_share: float = MAX_BAD_SHARE,
    decode_images: bool = False,
) -> Conversations:
    """Read a file of conversations that end with an answer.

    Args:
        on_bad_data: `raise` stops at the first bad record (default: a file should be known to be whole), `skip` and
            `quarantine` leave bad ones out; they are in `bad_rows`.
        max_bad_share: the share of bad records above which the file is refused.
        decode_images: decode every picture, and call its records bad if that fails.

    Returns:
        The conversations in the file's order, cleaned (`check_turns`), each `image` a Path. Never empty.

    Raises:
        ConfigError: the file's ending is none of `FORMATS`.
        DataError: the file is missing or cannot be read, a record is bad under `raise`, too many are, or none is left.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ConfigError(f"{path} is no file of conversations; allowed: {', '.join(FORMATS)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file of conversations")
    locate = Locator(path.parent)
    good: list[Conversation] = []
    bad: list[BadRow] = []
    problems: dict[Path, str] = {}
    for record in records_of(path):
        try:
            if record.problem:
                raise DataError(record.problem)
            conversation = conversation_of(record.content, locate)
            if conversation.image not in problems:
                problems[conversation.image] = image_problem(conversation.image, decode_images)
            if problems[conversation.image]:
                raise DataError(problems[conversation.image])
        except FastcapError as error:
            if on_bad_data == "raise":
                raise DataError(f"{record.where}: {error}") from error
            image, text = printable(picture_of(record.content)), printable(json.dumps(record.content, default=str))
            bad.append(BadRow(record.where, image, text[:1000], str(error)))
        else:
            good.append(conversation)
    n_rows = len(good) + len(bad)
    if len(bad) > max_bad_share * n_rows:
        raise DataError(
            f"{path}: {len(bad)} of {n_rows} conversations are bad, more than max_bad_share={max_bad_share:g} allows; "
            f"the first: {bad[0].where}: {bad[0].problem}"
        )
    if not good:
        raise DataError(f"{path}: no conversations found")
    return Conversations(good, n_rows, bad)


# --- files -> records --------------------------------------------------------------------------------------


def records_of(path: Path) -> Iterator[Record]:
    """The records of a file."""
    try:
        if path.suffix == ".json":
            yield from json_records(path)
        elif path.suffix == ".jsonl":
            yield from line_records(path)
        else:
            yield from table_records(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def json_records(path: Path) -> Iterator[Record]:
    """The objects of a JSON list, or the one that the file is."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    for number, record in enumerate(content if isinstance(content, list) else [content], start=1):
        yield Record(f"{path}: conversation {number}", record)


def line_records(path: Path) -> Iterator[Record]:
    """The objects of JSON lines."""
    for number, line in numbered_lines(path):
        if line.strip():
            try:
                yield Record(f"{path}:{number}", json.loads(line))
            except (ValueError, RecursionError) as error:
                yield Record(f"{path}:{number}", line.strip(), f"not JSON: {error}")


def table_records(path: Path) -> Iterator[Record]:
    """The lines of a table by the names of its columns; empty cells count as not there."""
    lines = deque(numbered_lines(path))
    delimiter, columns = table_header(lines)
    if not {*IMAGE_COLUMNS} & {*columns} or "question" not in columns or not {"answer", "answers"} & {*columns}:
        raise DataError(f"{path}: columns are {columns}; needed: image, question, and answer or answers")
    while lines:
        number, line = lines.popleft()
        if not line.strip():
            continue
        cells, problem = table_cells(line, lines, delimiter, len(columns))
        content = {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if cell.strip()}
        if "answers" in content:
            try:
                content["answers"] = told_answers(content["answers"])
            except ValueError as error:
                problem = problem or f"answers is no JSON list: {error}"
        yield Record(f"{path}:{number}", content, problem)


def told_answers(cell: str) -> Any:
    """The answers in a cell: a JSON list, or texts between bars."""
    return json.loads(cell) if cell.startswith("[") else [part.strip() for part in cell.split("|")]


# --- a record -> a conversation ----------------------------------------------------------------------------


def picture_of(record: Any) -> Any:
    """What a record has as its picture."""
    return next((record[key] for key in IMAGE_COLUMNS if key in record), None) if isinstance(record, dict) else None


def conversation_of(record: Any, locate: Locator) -> Conversation:
    """A record's conversation.

    Raises:
        FastcapError: it has no picture, no question, or what `check_turns` refuses; answers that are no texts.
    """
    if not isinstance(record, dict):
        raise DataError(f"{shown(record)} is no object; needed: a picture and a conversation")
    name = picture_of(record)
    if not isinstance(name, str) or not name.strip():
        got = "has no picture" if name is None else f"has the picture {shown(name)}"
        raise DataError(f'the conversation {got}; needed: its path, such as "image_path": "images/dog.jpg"')
    answers = answers_of(record)
    turns = check_turns(turns_of(record, answers), asks=False)
    kind = next((str(record[key]) for key in KIND_COLUMNS if record.get(key)), "")
    return Conversation(locate(name.strip()), turns, answers, kind)


def answers_of(record: dict[str, Any]) -> tuple[str, ...]:
    """What several people answered; empty where the record does not say.

    Raises:
        DataError: they are no list of texts.
    """
    answers = record.get("answers")
    if answers is None:
        return ()
    if not isinstance(answers, list) or not answers:
        raise DataError(f"answers is {shown(answers)}; needed: a list of texts, one for each person who answered")
    for place, answer in enumerate(answers):
        if not isinstance(answer, str):
            raise DataError(f"answer {place} is {shown(answer)}; needed: a text")
    return tuple(answers)


def turns_of(record: dict[str, Any], answers: Sequence[str]) -> list[Turn]:
    """The turns of a record, unchecked: those that it lists, or its question and answer; of several answers the most
    frequent."""
    if key := next((key for key in TURN_KEYS if key in record), ""):
        return read_turns(record[key])
    if "question" not in record:
        raise DataError(f"no {' or '.join(TURN_KEYS)}, and no question; needed: one of them")
    answer = record.get("answer", Counter(answers).most_common(1)[0][0] if answers else None)
    if answer is None:
        raise DataError("the question has no answer; needed: answer, or answers")
    return [Turn(USER, record["question"]), Turn(ASSISTANT, answer)]
