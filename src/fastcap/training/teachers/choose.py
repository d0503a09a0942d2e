"""Which network a teacher of a recipe is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer

from fastcap.config import SOURCES, DataConfig, ModelConfig, StageConfig, TeacherConfig
from fastcap.errors import ConfigError, FastcapError
from fastcap.training.teachers.beside import ReadsBeside
from fastcap.training.teachers.ensemble import Ensemble
from fastcap.training.teachers.features import ImageNetFeatures
from fastcap.training.teachers.hugging_face import HuggingFaceCaptioner
from fastcap.training.teachers.translated import Translated, vocabulary_of
from fastcap.training.teachers.written import WrittenCaptions

__all__ = ["Speaker", "check_teachers", "load_teacher"]

Speaker = Ensemble | Translated | HuggingFaceCaptioner | WrittenCaptions  # gives captions of its own


def check_teachers(
    stages: Iterable[tuple[int, StageConfig]], student: ModelConfig, tokenizer: Tokenizer, data: DataConfig
) -> None:
    """Load the teachers of all stages that are left, given with their numbers: an error among them is raised now, not
    after hours."""
    for index, stage in stages:
        for place, teacher in enumerate(stage.teachers):
            setting = f"stages.{index}.teachers.{place}"
            network = load_teacher(teacher, student, tokenizer, data, setting)
            if not stage.captions and not getattr(network, "reads_questions", False):
                raise ConfigError(
                    f"teacher {', '.join(teacher.names)} reads no questions, and the stage has no captions; allowed: "
                    f"checkpoints that answer (setting {setting})"
                )


def load_teacher(
    teacher: TeacherConfig,
    student: ModelConfig,
    tokenizer: Tokenizer,
    data: DataConfig,
    setting: str,
    dtype: torch.dtype = torch.float32,
) -> ImageNetFeatures | ReadsBeside | Speaker | None:
    """The network behind a teacher; None if that is one of the data's sources.

    Args:
        student, tokenizer: the model that learns, and its tokenizer.
        setting: the one that names the teacher, such as stages.1.teachers.0.
        dtype: in which the language models of checkpoints compute that speak.

    Raises:
        DataError, ModelFileError: it is missing or damaged, or does not fit the student; names the setting.
    """
    if teacher.kind == "features":
        return ImageNetFeatures(Path(data.root) / teacher.names[0], setting)
    if teacher.kind == "sequences" and len(teacher.names) == 1 and teacher.names[0] in SOURCES:
        return None
    try:
        if teacher.kind == "readings":
            return ReadsBeside(Path(teacher.names[0]), student, tokenizer)
        if teacher.kind == "sequences" and len(teacher.names) == 1 and teacher.names[0].endswith(".jsonl"):
            return WrittenCaptions(Path(teacher.names[0]), tokenizer)
        if teacher.kind == "sequences" and len(teacher.names) == 1 and not is_checkpoint(Path(teacher.names[0])):
            return HuggingFaceCaptioner(teacher.names[0], tokenizer, student.max_length)
        if teacher.kind == "sequences" and vocabulary_of(teacher.names[0]) != tokenizer.get_vocab():
            return Translated(teacher.names, tokenizer, Path(data.cache), dtype)
        return Ensemble(teacher.names, student, tokenizer, Path(data.cache), dtype)
    except FastcapError as error:
        raise type(error)(f"{error} (setting {setting})") from error


def is_checkpoint(path: Path) -> bool:
    """Whether a directory is one of our checkpoints; a Hugging Face model states its `model_type`."""
    try:
        return path.is_dir() and "model_type" not in json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return path.is_dir()  # to be read, and refused, as a checkpoint
