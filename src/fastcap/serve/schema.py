"""The shapes of the answers, and OpenAPI's description of the bodies that FastAPI does not read itself."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from fastcap.runtime.contract import PICTURES
from fastcap.runtime.conversation import MAX_QUESTION
from fastcap.serve.body import picture_types
from fastcap.serve.limits import MAX_CONVERSATION_BYTES, MAX_TEXT_BYTES, MAX_TEXTS

__all__ = [
    "PROBLEMS",
    "Answered",
    "Answers",
    "Captioned",
    "Captions",
    "Failed",
    "Model",
    "Models",
    "Neighbour",
    "Problem",
    "Score",
    "Scores",
    "Status",
    "Wording",
    "ask_body",
    "caption_body",
    "score_body",
]


class Wording(BaseModel):
    """One of several wordings, best first."""

    caption: str
    confidence: float = Field(ge=0, le=1)


class Neighbour(BaseModel):
    """What was said of a similar picture of the server's memory."""

    caption: str
    similarity: float = Field(ge=-1, le=1, description="cosine of both pictures")
    source: str = Field(description="the picture's name in the memory")


class Captioned(BaseModel):
    """A picture and what it shows."""

    image: str = Field(description="file name, URL, or 'body'", examples=["dog.jpg"])
    caption: str = Field(
        description="empty if its confidence is below min_confidence", examples=["A dog runs through the grass."]
    )
    confidence: float = Field(
        ge=0, le=1, description="about the share of the content words that people would use as well", examples=[0.62]
    )
    milliseconds: float = Field(description="from the bytes to the text, without waiting", examples=[15.8])
    kind: Literal[PICTURES] | None = Field(  # type: ignore[valid-type]
        None, description="what the picture is, if the model can tell; of what is no photo the confidence is lowered"
    )
    candidates: list[Wording] | None = Field(None, description="if more than one was asked for")
    neighbours: list[Neighbour] | None = Field(None, description="with a memory, where it holds similar pictures")


class Failed(BaseModel):
    """A picture that could not be captioned, beside others that could."""

    image: str = Field(examples=["notes.txt"])
    error: str = Field(examples=["notes.txt: holds text, not an image"])


class Captions(BaseModel):
    """One row a picture, in the order of the request."""

    model: str = Field(examples=["fastcap-base"])
    images: list[Captioned | Failed]


class Score(BaseModel):
    """How well a text fits the picture."""

    text: str = Field(examples=["A dog runs."])
    score: float = Field(examples=[0.31])


class Scores(BaseModel):
    """One score a text, in the order of the request."""

    model: str = Field(examples=["fastcap-base"])
    image: str = Field(examples=["dog.jpg"])
    scores: list[Score]


class Answered(BaseModel):
    """A question and its answer."""

    question: str = Field(examples=["Is there a dog?"])
    answer: str = Field(examples=["yes"])
    confidence: float = Field(ge=0, le=1, description="about the share of such answers that are right", examples=[0.9])


class Answers(BaseModel):
    """One answer a question, in the order of the request."""

    model: str = Field(examples=["fastvlm-base"])
    image: str = Field(examples=["dog.jpg"])
    answers: list[Answered]
    milliseconds: float = Field(description="from the bytes to all answers, without waiting", examples=[310.5])


class Model(BaseModel):
    """What a model states about itself."""

    name: str = Field(examples=["fastcap-base"])
    kind: str
    description: str
    licence: str
    bytes: int
    quality: dict[str, Any]
    speed: dict[str, Any]


class Models(BaseModel):
    """The models that are served."""

    models: list[Model]


class Status(BaseModel):
    """One word."""

    status: str


class Problem(BaseModel):
    """Every error."""

    error: str = Field(
        description="what was got, and what is allowed",
        examples=["candidates is '99'; allowed are whole numbers from 1 to 8"],
    )


_BINARY = {"type": "string", "format": "binary"}


def caption_body(max_images: int, required: bool) -> dict[str, Any]:
    """The body of `/v1/caption`: a picture, or a form of up to `max_images`; `required` where no URL can replace it."""
    raw = {"schema": _BINARY}
    pictures = {"type": "array", "items": _BINARY, "minItems": 1, "maxItems": max_images}
    return {
        "requestBody": {
            "description": "One picture as the body itself, or one or many as files of a form; none if `url` is given.",
            "required": required,
            "content": {
                **_form(image=pictures),
                **dict.fromkeys(picture_types()[0], raw),
                "application/octet-stream": raw,
            },
        }
    }


def score_body() -> dict[str, Any]:
    """The body of `/v1/score`: a form of a picture and texts."""
    text = {"type": "string", "description": f"at most {MAX_TEXT_BYTES} bytes", "examples": ["A dog runs."]}
    texts = {"type": "array", "items": text, "minItems": 1, "maxItems": MAX_TEXTS}
    return {"requestBody": {"required": True, "content": _form(image=_BINARY, text=texts)}}


def ask_body() -> dict[str, Any]:
    """The body of `/v1/ask`: a form of a picture and questions, and what was said before them."""
    question = {"type": "string", "description": f"at most {MAX_QUESTION} characters", "examples": ["Is there a dog?"]}
    questions = {"type": "array", "items": question, "minItems": 1, "maxItems": MAX_TEXTS}
    told = (
        'turns before, as JSON: [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}], at most '
        f"{MAX_CONVERSATION_BYTES} bytes"
    )
    form = _form(image=_BINARY, question=questions, optional={"conversation": {"type": "string", "description": told}})
    return {"requestBody": {"required": True, "content": form}}


def _form(optional: dict[str, Any] | None = None, **parts: dict[str, Any]) -> dict[str, Any]:
    properties = {**parts, **(optional or {})}
    schema = {"type": "object", "properties": properties, "required": list(parts), "additionalProperties": False}
    return {"multipart/form-data": {"schema": schema}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": description}
    for status, description in {
        400: "The form is malformed, cut short, or holds too many parts.",
        401: "The token, if the server asks for one, is missing or wrong.",
        413: "The body is too large.",
        415: "The body is of a type, or compressed in a way, that is not read.",
        422: "An option is out of its range, or no picture could be read.",
        503: "Too many pictures wait already; `Retry-After` gives the seconds after which to try again.",
        504: "It took too long.",
    }.items()
}
