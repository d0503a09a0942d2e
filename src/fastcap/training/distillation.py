"""PMTD, progressive multi-teacher distillation: a curriculum over several teachers, from the weakest to the strongest.

A teacher sees each training image once, as it is, and what it says is kept on disk: what its last convolutions see, the
likeliest next tokens of each caption (Hinton et al. 2015), or captions of its own (Kim and Rush 2016).

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

from fastcap.config import StageConfig, TeacherConfig, TrainConfig
from fastcap.data.batching import pad_tokens
from fastcap.data.cache import ImageCache, build_array
from fastcap.training.features import FrozenFeatures
from fastcap.training.pools import CaptionPool
from fastcap.training.teachers.choose import BEAMS, Caption, Ensemble, ImageNetFeatures, Speaker, load_teacher
from fastcap.vocabulary import PAD

if TYPE_CHECKING:
    from fastcap.decoder.caption_decoder import CaptionDecoder

__all__ = ["Distillation", "asks_itself", "curriculum", "feature_loss", "logits_loss"]

LIKELIEST = 16  # next tokens kept of a teacher: 2 kB a caption
CHUNK = 32  # images or captions that a teacher sees at once


def curriculum(progress: float, n_teachers: int) -> list[float]:
    """The part of each teacher, weakest first, at a progress of 0..1 through a stage; the parts sum to 1.

    The lesson walks from the first teacher to the last at an even pace and is shared by the two that it stands between.

    Raises:
        ValueError: progress outside 0..1.
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress is {progress}; allowed: 0 to 1")
    place = progress * (n_teachers - 1)
    return [max(0.0, 1 - abs(place - index)) for index in range(n_teachers)]


def feature_loss(projected: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of (B, C) to a teacher's (B, C), each image's brought to mean 0 and variance 1.

    1 is therefore the loss of a student that says 0 of every image, whatever the teacher's scale.
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


def asks_itself(stage: StageConfig) -> bool:
    """Whether a stage needs captions by the student's own causal reading."""
    return stage.inputs == "images" and "distilled" in {
        *stage.sources,
        *(name for teacher in stage.teachers for name in teacher.names),
    }


class Distillation(nn.Module):
    """What the teachers of one stage said of its images, and the learned projections onto their features.

    The projections are its only weights: trained beside the model, dropped with the stage. Files are kept in
    `data.cache`; their names are digests of the teacher's weights, the images and the captions, so that a stale one
    cannot be used, and an interrupted build goes on where it stopped.

    Args:
        config, stage: the recipe, and the stage of it that `setting` names, such as stages.1.
        own: checkpoint directory of the student at its first distilled stage, the teacher called "distilled".
    """

    def __init__(
        self,
        config: TrainConfig,
        stage: StageConfig,
        setting: str,
        pool: CaptionPool,
        images: ImageCache,
        tokenizer: Tokenizer,
        own: Path,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.config, self.stage = config, stage
        self.pool, self.images, self.tokenizer, self.device = pool, images, tokenizer, device
        self.folder = Path(config.data.cache)
        self.names = [f"{teacher.kind}_{index}" for index, teacher in enumerate(self.stage.teachers)]
        self.spoken: dict[str, str] = {}  # sources of captions by teacher
        self.features: dict[str, FrozenFeatures] = {}
        self.next_tokens: dict[str, NDArray[Any]] = {}
        self.projections = nn.ModuleDict()
        if asks_itself(self.stage):
            self.add_captions("distilled", Ensemble([str(own)], config, tokenizer))
        networks: dict[str, ImageNetFeatures | Speaker | None] = {}
        for index, (name, teacher) in enumerate(self.teachers()):
            network = load_teacher(teacher, config, tokenizer, f"{setting}.teachers.{index}")
            if teacher.kind == "sequences":
                source = self.spoken[name] = "+".join(teacher.names)
                if network is not None:
                    assert not isinstance(network, ImageNetFeatures)
                    self.add_captions(source, network)
                pool.with_sources([source])  # raises if there is none
            else:
                networks[name] = network
        for name in self.names:  # now that all captions are known
            network = networks.get(name)
            if isinstance(network, ImageNetFeatures):
                self.features[name] = self.see(network)
                self.projections[name] = nn.Linear(config.model.d_model, network.d_features)
            elif isinstance(network, Ensemble):
                self.next_tokens[name] = self.read_captions(network)

    def teachers(self) -> Iterator[tuple[str, TeacherConfig]]:
        """Each teacher with the name of its term, such as `logits_1`."""
        yield from zip(self.names, self.stage.teachers, strict=True)

    # What teachers say

    def see(self, teacher: ImageNetFeatures) -> FrozenFeatures:
        """A teacher's features of every image: cheap to keep, and crops and mirrors hardly change them."""
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

    def kept(
        self,
        kind: str,
        teacher: Speaker,
        facts: Any,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        compute: Callable[[range], Iterable[NDArray[Any]]],
    ) -> NDArray[Any]:
        """An array that is computed once; see `build_array`. `facts`: on what it depends beside teacher and images."""
        digest = hashlib.sha256(json.dumps([teacher.settings, self.images.keys, facts], default=str).encode())
        for tensor in teacher.state_dict().values():
            digest.update(tensor.cpu().numpy().tobytes())
        path = self.folder / f"{kind}-{digest.hexdigest()[:16]}.npy"
        if not path.is_file():
            teacher.to(self.device)
            build_array(path, shape, dtype, compute, chunk=CHUNK, title=f"teacher's {kind}")
        return np.load(path, mmap_mode="r")

    def add_captions(self, source: str, teacher: Speaker) -> None:
        """Give every image of the pool the captions of a teacher, under a source of their own."""
        model, paths = self.config.model, self.pool.paths

        def compute(images: range) -> Iterable[NDArray[Any]]:
            for found in teacher.captions(paths, images):
                fitting = [ids if len(ids) <= model.max_length else [] for ids in found]
                fitting += [[]] * (BEAMS - len(fitting))
                yield pad_tokens(fitting, PAD, model.max_length)[0]

        facts = [self.tokenizer.to_str(), BEAMS, model.max_length, model.generation.min_length]
        shape = (len(paths), BEAMS, model.max_length)
        captions = self.kept("captions", teacher, facts, shape, np.int32, compute)
        for token_ids, rows in zip(self.pool.token_ids, captions.tolist(), strict=True):
            token_ids[source] = [ids for ids in ([i for i in ids if i != PAD] for ids in rows) if ids]

    def read_captions(self, teacher: Ensemble) -> NDArray[Any]:
        """The likeliest next tokens of all captions that the stage may draw, by a structured array's row each."""
        sources = dict.fromkeys([*self.stage.sources, *self.spoken.values()])
        captions: list[Caption] = [
            (image, tuple(ids))
            for image, of in enumerate(self.pool.token_ids)
            for source in sources
            for ids in of.get(source, [])
        ]
        captions = list(dict.fromkeys(captions))
        self.row_of = {caption: row for row, caption in enumerate(captions)}
        k = min(LIKELIEST, self.tokenizer.get_vocab_size())
        shape = (self.config.model.max_length + 1, k)
        row = np.dtype([("token_ids", np.int32, shape), ("log_p", np.float16, shape)])

        def compute(rows: range) -> Iterable[NDArray[Any]]:
            token_ids, log_p = teacher.next_tokens(self.pool.paths, captions[rows.start : rows.stop], k)
            kept = np.zeros(len(rows), row)
            kept["token_ids"][:, : token_ids.shape[1]] = token_ids.cpu()
            kept["log_p"][:, : log_p.shape[1]] = log_p.cpu()
            return kept

        return self.kept("logits", teacher, [captions, shape], (len(captions),), row, compute)

    # What a step asks for

    @property
    def reads_causally(self) -> bool:
        """Whether the stage needs the causal reading: for a loss of its own, or for a teacher's."""
        return bool(self.stage.causal or self.stage.consistency or self.next_tokens)

    def weights(self, progress: float) -> dict[str, float]:
        """The weight of each teacher's term at a progress of 0..1 through the stage."""
        parts = curriculum(progress, len(self.names)) if self.names else []
        return {name: part * teacher.weight for part, (name, teacher) in zip(parts, self.teachers(), strict=True)}

    def shares(self, image: int, progress: float) -> list[tuple[Sequence[str], float]]:
        """Where an image's captions come from, and how often: each teacher of sequences that has said something of it
        with its weight, the stage's sources with what is left of 1."""
        weights = self.weights(progress)
        spoken = [name for name in self.spoken if self.pool.token_ids[image].get(self.spoken[name])]
        rest = max(0.0, 1 - sum(weights[name] for name in spoken))
        return [*(([self.spoken[name]], weights[name]) for name in spoken), (self.stage.sources, rest)]

    def draw(self, image: int, rng: np.random.Generator, progress: float) -> list[list[int]]:
        """`stage.captions` captions of an image, from its teachers and sources at random, as often as `shares` says."""
        groups, shares = zip(*self.shares(image, progress), strict=True)
        counts = rng.multinomial(self.stage.captions, shares)
        return [
            ids for group, n in zip(groups, counts, strict=True) if n for ids in self.pool.draw(image, group, n, rng)
        ]

    def length_target(self, image: int, progress: float) -> NDArray[np.float32]:
        """Shares of the lengths 0..max_length among the captions that `draw` gives: (max_length + 1,)."""
        max_length = self.config.model.max_length
        target = np.zeros(max_length + 1, np.float32)
        for group, share in self.shares(image, progress):
            if share > 0:
                target += np.float32(share) * self.pool.length_distribution(image, group, max_length)
        return target

    def targets(self, images: NDArray[np.int64], rows: Sequence[Sequence[int]], width: int) -> dict[str, Tensor]:
        """What the teachers said of a batch: B images, and the R = B c rows drawn of them, side by side, padded to
        `width` tokens."""
        batch: dict[str, Tensor] = {}
        for name, features in self.features.items():
            batch[f"{name}.target"] = features[images, np.zeros_like(images)]
        row_images = np.repeat(images, self.stage.captions)
        captions = [(int(image), tuple(ids)) for image, ids in zip(row_images, rows, strict=True)]
        for name, next_tokens in self.next_tokens.items():
            kept = next_tokens[[self.row_of[caption] for caption in captions]]
            batch[f"{name}.token_ids"] = torch.from_numpy(kept["token_ids"][:, : width + 1].astype(np.int64))
            batch[f"{name}.log_p"] = torch.from_numpy(kept["log_p"][:, : width + 1].astype(np.float32))
        return batch

    def feature_losses(self, batch: dict[str, Tensor], pooled: Tensor) -> dict[str, Tensor]:
        """The terms of teachers of features, unweighted: of a batch with `targets`, and images seen as (B, D)."""
        return {name: feature_loss(self.projections[name](pooled), batch[f"{name}.target"]) for name in self.features}

    def logits_losses(self, batch: dict[str, Tensor], decoder: CaptionDecoder, hidden: Tensor) -> dict[str, Tensor]:
        """The terms of teachers of logits, unweighted; `hidden` (R, T + 1, D) is what `read_causally` gives.

        The parallel reading learns from them through the weights that it shares with the causal one alone: it sees the
        words to come, and what a teacher would say without them is no lesson for it.
        """
        known = torch.arange(hidden.shape[1], device=hidden.device) <= batch["lengths"][:, None]
        terms = {}
        for name in self.next_tokens:
            token_ids, log_p = (batch[f"{name}.{part}"][known] for part in ("token_ids", "log_p"))
            temperature = self.stage.teachers[self.names.index(name)].temperature
            terms[name] = logits_loss(decoder.project(hidden[known]), token_ids, log_p, temperature)
        return terms
