"""PMTD, progressive multi-teacher distillation: a curriculum over several teachers, from the weakest to the strongest.

A teacher reads each training image once, without augmentation, and its outputs are cached on disk: features of its last
convolution, the likeliest next tokens of each caption (Hinton et al. 2015), or captions and answers of its own (Kim and
Rush 2016).

Letters: B images, R caption rows, T tokens, M tokens of all rows, D width, V vocabulary, C channels of a teacher,
k likeliest tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.config import DataConfig, ModelConfig, StageConfig, TeacherConfig
from fastcap.data.batching import pad_tokens
from fastcap.data.cache import ImageCache, build_array
from fastcap.losses.invariance import Reader
from fastcap.runtime.conversation import ASSISTANT, Turn, encode_training
from fastcap.runtime.encoding import clean_caption, decode
from fastcap.training.answering import LONGEST
from fastcap.training.features import FrozenFeatures
from fastcap.training.pools import CaptionPool, Row
from fastcap.training.teachers.beside import ReadsBeside
from fastcap.training.teachers.choose import Speaker, load_teacher
from fastcap.training.teachers.ensemble import BEAMS, Caption, Ensemble
from fastcap.training.teachers.features import ImageNetFeatures
from fastcap.training.teachers.translated import Translated

if TYPE_CHECKING:
    from fastcap.decoder.caption_decoder import CaptionDecoder

__all__ = ["Distillation", "curriculum", "distils_itself", "feature_loss", "logits_loss"]

LIKELIEST = 16  # next tokens kept of a teacher: 2 kB a caption
CHUNK = 32  # images or captions in a teacher's batch


def curriculum(progress: float, n_teachers: int) -> list[float]:
    """The part of each teacher, weakest first, at a progress of 0..1 through a stage; the parts sum to 1.

    The weight moves from the first teacher to the last at an even pace, and is shared by the two that it lies between.

    Raises:
        ValueError: progress outside 0..1.
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress is {progress}; allowed: 0 to 1")
    place = progress * (n_teachers - 1)
    return [max(0.0, 1 - abs(place - index)) for index in range(n_teachers)]


def feature_loss(projected: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of (B, C) to a teacher's (B, C), each image's normalised to mean 0 and variance 1.

    A student that projects every image to 0 therefore has the loss 1, whatever the teacher's scale.
    """
    return F.mse_loss(projected, F.layer_norm(target, target.shape[-1:]))


def logits_loss(logits: Tensor, token_ids: Tensor, log_p: Tensor, temperature: float) -> Tensor:
    """`τ² KL(teacher ‖ student)` in nats, the mean over M tokens, both distributions softened by τ.

    Args:
        logits: (M, V), the student's.
        token_ids, log_p: (M, k) the teacher's likeliest tokens and their log-probabilities at temperature 1; its other
            tokens count as impossible, and the rest sums to 1.
    """
    teacher = (log_p / temperature).log_softmax(dim=-1)
    student = (logits / temperature).log_softmax(dim=-1).gather(1, token_ids)
    return temperature**2 * (teacher.exp() * (teacher - student)).sum(dim=-1).mean()


def distils_itself(stage: StageConfig) -> bool:
    """Whether a stage needs captions by the student's own causal reading (the source "distilled")."""
    return stage.inputs == "images" and "distilled" in {
        *stage.sources,
        *(name for teacher in stage.teachers for name in teacher.names),
    }


class Distillation(nn.Module):
    """The cached outputs of one stage's teachers, and the learned projections onto their features.

    The projections are its only weights: trained beside the model, dropped with the stage. Files are cached in
    `data.cache` under digests of the teacher's weights, the images and the captions, so that a stale one cannot be
    used; an interrupted build continues where it stopped.

    Args:
        stage, setting: the stage, and where the recipe has it, such as stages.1.
        student, tokenizer: the model that learns, and its tokenizer.
        own: checkpoint directory of the student at its first distilled stage, the teacher called "distilled".
        dtype: in which the language models of teachers of sequences compute, bfloat16 where the student's does.
    """

    def __init__(
        self,
        stage: StageConfig,
        setting: str,
        student: ModelConfig,
        data: DataConfig,
        pool: CaptionPool,
        images: ImageCache,
        tokenizer: Tokenizer,
        own: Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.stage, self.student, self.pool, self.images = stage, student, pool, images
        self.tokenizer, self.device, self.folder = tokenizer, device, Path(data.cache)
        self.names = [f"{teacher.kind}_{index}" for index, teacher in enumerate(stage.teachers)]
        self.spoken: dict[str, str] = {}  # teacher of sequences -> source of its captions in the pool
        self.answers: dict[str, dict[tuple[int, tuple[int, ...]], Row]] = {}  # its answers, by image and prompt
        self.features: dict[str, FrozenFeatures] = {}
        self.next_tokens: dict[str, NDArray[Any]] = {}
        self.beside: dict[str, ReadsBeside] = {}  # no modules of this one: none of their weights is a stage's
        self.projections = nn.ModuleDict()
        if distils_itself(stage):
            self.add_captions("distilled", Ensemble([str(own)], student, tokenizer, self.folder))
        networks: dict[str, ImageNetFeatures | ReadsBeside | Speaker | None] = {}
        for index, (name, teacher) in enumerate(self.teachers()):
            network = load_teacher(teacher, student, tokenizer, data, f"{setting}.teachers.{index}", dtype)
            if teacher.kind == "sequences":
                assert not isinstance(network, ImageNetFeatures | ReadsBeside)
                if stage.captions:
                    source = self.spoken[name] = "+".join(teacher.names)
                    drawn = [i for i, said in enumerate(pool.token_ids) if any(map(said.get, stage.sources))]
                    if network is not None:
                        self.add_captions(source, network, drawn)
                    if network is None or drawn:
                        pool.with_sources([source])  # raises if there is none
                if stage.questions and isinstance(network, Ensemble | Translated) and network.reads_questions:
                    self.answers[name] = self.ask(network, data.longest_conversation)
            else:
                networks[name] = network
        for name in self.names:  # now that all captions are known
            network = networks.get(name)
            if isinstance(network, ImageNetFeatures):
                self.features[name] = self.cache_features(network)
                self.projections[name] = nn.Linear(student.d_model, network.d_features)
            elif isinstance(network, ReadsBeside):
                self.beside[name] = network.to(device)
            elif isinstance(network, Ensemble):
                self.next_tokens[name] = self.cache_next_tokens(network)

    def teachers(self) -> Iterator[tuple[str, TeacherConfig]]:
        """Each teacher with the name of its term, such as `logits_1`."""
        yield from zip(self.names, self.stage.teachers, strict=True)

    # The teachers' outputs, cached

    def cache_features(self, teacher: ImageNetFeatures) -> FrozenFeatures:
        """A teacher's features of every image, one view each: crops and mirroring hardly change them."""
        teacher.to(self.device)
        return FrozenFeatures(
            self.folder,
            lambda pixels: teacher(pixels.to(self.device)),
            [teacher],
            self.images,
            self.pool.texts,
            views=1,
            seed=0,
        )

    def cached(
        self,
        kind: str,
        teacher: Speaker,
        facts: Any,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        compute: Callable[[range], Iterable[NDArray[Any]]],
    ) -> NDArray[Any]:
        """An array that is computed once; see `build_array`. `facts`: what it depends on beside teacher and images."""
        digest = hashlib.sha256(json.dumps([teacher.settings, self.images.keys, facts], default=str).encode())
        for tensor in teacher.state_dict().values():
            digest.update(tensor.cpu().flatten().view(torch.uint8).numpy().tobytes())  # NumPy knows no bfloat16
        path = self.folder / f"{kind}-{digest.hexdigest()[:16]}.npy"
        if not path.is_file():
            teacher.to(self.device)
            build_array(path, shape, dtype, compute, chunk=CHUNK, title=f"teacher's {kind}")
        return np.load(path, mmap_mode="r")

    def add_captions(self, source: str, teacher: Speaker, drawn: Sequence[int] | None = None) -> None:
        """Add a teacher's captions to the pool, under a source of their own: of every image, or of those `drawn` alone,
        where a stage draws captions of no others."""
        max_length, pad_id, paths = self.student.max_length, self.student.vocabulary.pad_id, self.pool.paths
        told = set(range(len(paths)) if drawn is None else drawn)

        def compute(images: range) -> Iterable[NDArray[Any]]:
            asked = [image for image in images if image in told]
            said = dict(zip(asked, teacher.captions(paths, asked), strict=True)) if asked else {}
            for captions in (said.get(image, []) for image in images):
                fitting = [ids if len(ids) <= max_length else [] for ids in captions]
                fitting += [[]] * (BEAMS - len(fitting))
                yield pad_tokens(fitting, pad_id, max_length)[0]

        facts = [self.tokenizer.to_str(), BEAMS, max_length, self.student.generation.min_length]
        facts += [sorted(told)] if len(told) < len(paths) else []
        padded = self.cached("captions", teacher, facts, (len(paths), BEAMS, max_length), np.int32, compute)
        for token_ids, rows in zip(self.pool.token_ids, padded.tolist(), strict=True):
            token_ids[source] = [ids for ids in ([i for i in ids if i != pad_id] for ids in rows) if ids]

    def ask(self, teacher: Ensemble | Translated, longest: int) -> dict[tuple[int, tuple[int, ...]], Row]:
        """The conversations of the pool with a teacher's last answer, by image and prompt; those of more than `longest`
        tokens are left out, and those that the teacher cannot read."""
        pool, pad_id = self.pool, self.student.vocabulary.pad_id
        asked = [(image, each.turns) for image, conversations in pool.asked.items() for each in conversations]
        prompts = [(image, row) for image, rows in pool.conversations.items() for row in rows]

        width = 4 * LONGEST  # the student may need more tokens than the teacher; what needs still more is left out

        def compute(rows: range) -> Iterable[NDArray[Any]]:
            for ids in teacher.told(pool.paths, asked[rows.start : rows.stop]):
                yield pad_tokens([ids if len(ids) <= width else []], pad_id, width)[0][0]

        facts = [self.tokenizer.to_str(), asked]
        padded = self.cached("answers", teacher, facts, (len(asked), width), np.int32, compute)
        found: dict[tuple[int, tuple[int, ...]], Row] = {}
        for (image, turns), (_, row), told in zip(asked, prompts, padded.tolist(), strict=True):
            text = clean_caption(decode(self.tokenizer, [i for i in told if i != pad_id]))
            turns = (*turns[:-1], Turn(ASSISTANT, text))
            other = Row(*encode_training(self.tokenizer, turns, self.student.template, self.student.marks.eos_id))
            if text and len(other.token_ids) <= longest:
                found[image, tuple(row.token_ids[: row.n_prompt])] = other
        return found

    def cache_next_tokens(self, teacher: Ensemble) -> NDArray[Any]:
        """The likeliest next tokens of every caption that the stage may draw: a row each of a structured array."""
        sources = dict.fromkeys([*self.stage.sources, *self.spoken.values()])
        captions: list[Caption] = [
            (image, tuple(ids))
            for image, by_source in enumerate(self.pool.token_ids)
            for source in sources
            for ids in by_source.get(source, [])
        ]
        captions = list(dict.fromkeys(captions))
        self.row_of = {caption: row for row, caption in enumerate(captions)}
        k = min(LIKELIEST, self.tokenizer.get_vocab_size())
        shape = (self.student.max_length + 1, k)
        row = np.dtype([("token_ids", np.int32, shape), ("log_p", np.float16, shape)])

        def compute(rows: range) -> Iterable[NDArray[Any]]:
            token_ids, log_p = teacher.next_tokens(self.pool.paths, captions[rows.start : rows.stop], k)
            values = np.zeros(len(rows), row)
            values["token_ids"][:, : token_ids.shape[1]] = token_ids.cpu()
            values["log_p"][:, : log_p.shape[1]] = log_p.cpu()
            return values

        return self.cached("logits", teacher, [captions, shape], (len(captions),), row, compute)

    # What a step reads

    @property
    def reads_causally(self) -> bool:
        """Whether the stage needs the causal reading: for a loss of its own, or for a teacher's."""
        return bool(self.stage.causal or self.stage.consistency or self.stage.clip_loss or self.next_tokens)

    def weights(self, progress: float) -> dict[str, float]:
        """The weight of each teacher's term at a progress of 0..1 through the stage."""
        parts = curriculum(progress, len(self.names)) if self.names else []
        return {name: part * teacher.weight for part, (name, teacher) in zip(parts, self.teachers(), strict=True)}

    def shares(self, image: int, progress: float) -> list[tuple[Sequence[str], float]]:
        """Where an image's captions come from, and how often: from each teacher of sequences that captioned it by its
        weight, from the stage's sources for what is left of 1."""
        weights = self.weights(progress)
        spoken = [name for name in self.spoken if self.pool.token_ids[image].get(self.spoken[name])]
        rest = max(0.0, 1 - sum(weights[name] for name in spoken))
        return [*(([self.spoken[name]], weights[name]) for name in spoken), (self.stage.sources, rest)]

    def draw(self, image: int, rng: np.random.Generator, progress: float, count: int | None = None) -> list[list[int]]:
        """Captions of an image, `count` or `stage.captions`, drawn from teachers and sources in proportion to
        `shares`."""
        groups, shares = zip(*self.shares(image, progress), strict=True)
        counts = rng.multinomial(self.stage.captions if count is None else count, shares)
        return [
            ids for group, n in zip(groups, counts, strict=True) if n for ids in self.pool.draw(image, group, n, rng)
        ]

    def answered(self, image: int, row: Row, rng: np.random.Generator, progress: float) -> Row:
        """A conversation about an image with the answer of a teacher, as likely as its weight says, or as it is."""
        place = rng.random() if self.answers else 0.0
        for name, rows in self.answers.items():
            if other := rows.get((image, tuple(row.token_ids[: row.n_prompt]))):
                if place < (share := self.weights(progress)[name]):
                    return other
                place -= share
        return row

    def longest_told(self) -> dict[int, int]:
        """Tokens of the longest conversation with a teacher's answer, by image."""
        longest: dict[int, int] = {}
        for rows in self.answers.values():
            for (image, _), row in rows.items():
                longest[image] = max(longest.get(image, 0), len(row.token_ids))
        return longest

    def length_target(self, image: int, progress: float) -> NDArray[np.float32]:
        """Shares of the lengths 0..max_length among the captions that `draw` gives: (max_length + 1,)."""
        max_length = self.student.max_length
        target = np.zeros(max_length + 1, np.float32)
        for group, share in self.shares(image, progress):
            if share > 0:
                target += np.float32(share) * self.pool.length_distribution(image, group, max_length)
        return target

    def targets(self, images: NDArray[np.int64], rows: Sequence[Sequence[int]], width: int) -> dict[str, Tensor]:
        """The teachers' outputs for a batch: of B images, and of the R = B c caption rows drawn for them, padded to
        `width` tokens, the c rows of an image side by side."""
        batch: dict[str, Tensor] = {}
        for name, features in self.features.items():
            batch[f"{name}.target"] = features[images, np.zeros_like(images)]
        row_images = np.repeat(images, self.stage.rows)
        captions = [(int(image), tuple(ids)) for image, ids in zip(row_images, rows, strict=True)]
        for name, next_tokens in self.next_tokens.items():
            values = next_tokens[[self.row_of[caption] for caption in captions]]
            batch[f"{name}.token_ids"] = torch.from_numpy(values["token_ids"][:, : width + 1].astype(np.int64))
            batch[f"{name}.log_p"] = torch.from_numpy(values["log_p"][:, : width + 1].astype(np.float32))
        return batch

    def feature_losses(self, batch: dict[str, Tensor], pooled: Tensor) -> dict[str, Tensor]:
        """The unweighted losses of teachers of features, for a batch with `targets` and pooled image tokens (B, D)."""
        return {name: feature_loss(self.projections[name](pooled), batch[f"{name}.target"]) for name in self.features}

    def reading_losses(self, batch: dict[str, Tensor], student: Reader) -> dict[str, Tensor]:
        """The unweighted losses of teachers that read a batch beside the student."""
        return {name: teacher.loss(batch, student) for name, teacher in self.beside.items()}

    def logits_losses(self, batch: dict[str, Tensor], decoder: CaptionDecoder, hidden: Tensor) -> dict[str, Tensor]:
        """The unweighted losses of teachers of logits; `hidden` (R, T + 1, D) is what `read_causally` returns.

        They reach the parallel reading through the weights that it shares with the causal one only: it sees later words
        too, and a teacher's prediction without them is no target for it.
        """
        known = torch.arange(hidden.shape[1], device=hidden.device) <= batch["lengths"][:, None]
        losses = {}
        for name in self.next_tokens:
            token_ids, log_p = (batch[f"{name}.{part}"][known] for part in ("token_ids", "log_p"))
            temperature = self.stage.teachers[self.names.index(name)].temperature
            losses[name] = logits_loss(decoder.project(hidden[known]), token_ids, log_p, temperature)
        return losses
