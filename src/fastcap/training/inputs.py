"""The training data of a run, and the batches of its stages."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from fastcap.backbone.base import Cut
from fastcap.config import DataConfig, ModelConfig, PrefixConfig, StageConfig
from fastcap.data.augment import augment
from fastcap.data.batching import pad_tokens
from fastcap.data.cache import ImageCache
from fastcap.data.resave import resave
from fastcap.data.shards import Cursor, Shard, first_captions
from fastcap.data.tokenizer import train_tokenizer
from fastcap.errors import counted
from fastcap.losses.language import mask_tokens
from fastcap.runtime.encoding import clean_caption
from fastcap.training.batch import Batch
from fastcap.training.conversations import (
    Dealer,
    Share,
    add_conversations,
    learned_mask,
    read_conversations,
    spoken,
)
from fastcap.training.distillation import Distillation
from fastcap.training.features import FrozenFeatures, crop_anew
from fastcap.training.judge import ClipJudge
from fastcap.training.pools import (
    CaptionPool,
    Row,
    SiblingPool,
    length_distribution,
    limited,
    read_examples,
    read_texts,
)
from fastcap.training.position import Position
from fastcap.training.sampling import epoch_order, read_weights
from fastcap.training.streaming import StreamedPool, find_all_shards

__all__ = ["Corpus", "Inputs"]

TOKENIZER_CAPTIONS = 50_000  # of a stream: a vocabulary of some thousand entries changes little beyond


class Corpus:
    """The captioned images of a run: `pool` has their captions, `images` their pixels, `stream` both if they are read
    from shards; and `tokenizer`, which is learnt from the captions unless there is one.

    Args:
        model: how large images and captions may be, and how many tokens a new tokenizer learns.
        threads: that decode a stream; 0 for as many as there are cores.
        learn: a tokenizer from captions; `train_tokenizer` if None.

    Raises:
        DataError: a data set cannot be read.
    """

    def __init__(
        self,
        data: DataConfig,
        model: ModelConfig,
        tokenizer: Tokenizer | None,
        accelerator: Accelerator,
        threads: int,
        learn: Callable[[Iterable[str]], Tokenizer] | None = None,
    ) -> None:
        self.data, self.max_length = data, model.max_length
        streamed = data.streams("train")
        self.shards = find_all_shards(data, "train") if streamed else []
        parts = [] if streamed else read_examples(data, "train")
        *parts, (_, self.conversations) = limited(
            [*parts, ("asked", read_conversations(data, "train"))], data.train_limit
        )
        learn = learn or functools.partial(train_tokenizer, vocab_size=model.vocab_size)
        texts = captions_to_learn(data, parts, self.shards)
        if self.conversations:
            texts += spoken(self.conversations, model.template)
        self.tokenizer = tokenizer or learn(texts)
        limits = (model.image_size, model.max_length)
        stream = StreamedPool(data, self.shards, self.tokenizer, accelerator, *limits, threads) if streamed else None
        self.stream = stream
        self.pool = self.stream or CaptionPool.build(parts, self.tokenizer, model.max_length)
        self.images = ImageCache(Path(data.cache) / f"train-{model.image_size}", model.image_size)
        self.weights = None if streamed else read_weights(data, self.pool.paths)

    def add_conversations(self, model: ModelConfig) -> None:
        """Add the conversations to the pool, as tokens of a model whose marks are known."""
        if self.conversations and isinstance(model.decoder, PrefixConfig):
            add_conversations(
                self.pool,
                self.conversations,
                self.tokenizer,
                model.template,
                model.marks.eos_id,
                self.data.longest_conversation,
                model.decoder.question_tokens,
                self.data.answers == "drawn",
            )

    def decode_images(self) -> None:
        """Bring the cache of pixels up to date; a stream has none."""
        if self.stream is None:
            self.images.build(self.pool.paths)

    def features(self, cut: Cut, views: int, seed: int, device: torch.device) -> FrozenFeatures:
        """The outputs of a backbone at a cut for augmented views of every image, cached; re-saved as well, if the data
        say so."""
        cache, resaving = Path(self.data.cache), self.data.resave
        texts = [self.pool.said(index) for index in range(len(self.pool.paths))]
        return FrozenFeatures(
            cache, lambda pixels: cut.compute(pixels.to(device)), cut.frozen, self.images, texts, views, seed,
            resaving if resaving.share else None, self.data.store,
        )  # fmt: skip

    def judged(self, judge: ClipJudge, device: torch.device) -> FrozenFeatures:
        """Every image, as it is, as the judge of the CLIP loss sees it, cached."""
        cache, texts = Path(self.data.cache), self.pool.texts
        compute = lambda pixels: judge.embed_images(pixels.to(device))  # noqa: E731
        return FrozenFeatures(cache, compute, (judge.clip,), self.images, texts, views=1, seed=0)

    def summary(self) -> str:
        """What there is to learn from, in words."""
        if self.stream is not None:
            return counted(len(self.shards), "training shard")
        n_human = sum(len(captions.get("human", [])) for captions in self.pool.token_ids)
        n_asked = sum(map(len, self.pool.conversations.values()))
        asked = f", {counted(n_asked, 'conversation')}" if n_asked else ""
        longer = f"longer than {self.max_length} tokens" if not n_asked else "that are too long"
        return (
            f"{counted(len(self.pool.paths), 'training image')}, {counted(n_human, 'human caption')}{asked} "
            f"({self.pool.skipped} {longer} left out)"
        )


def captions_to_learn(data: DataConfig, parts: Any, shards: Sequence[Shard]) -> list[str]:
    """What a tokenizer is learnt from: all training captions and texts; of shards, the texts alone, or the first
    captions where there are none."""
    texts = [caption for _, examples in parts for example in examples for caption in example.captions]
    texts += list(read_texts(data)) or list(first_captions(shards, TOKENIZER_CAPTIONS))
    return [clean_caption(text) for text in texts]


class Inputs:
    """The batches of one stage, each a function of the step alone.

    Every process draws the whole batch, and loads what is large for its own images alone.

    Args:
        start: where the stage begins, or goes on.
        n_cells: words that stand in for an image, in a stage that learns from words.
        features: cached outputs of the backbone, in place of pixels.
        share: this process's number, and how many there are.
        stream: where a stream goes on, as `position` said.
        judged: the images as the judge of the CLIP loss sees them.
        least: images that a step needs, one for each process and micro-batch.
    """

    def __init__(
        self,
        stage: StageConfig,
        start: Position,
        corpus: Corpus,
        distillation: Distillation,
        n_cells: int,
        features: FrozenFeatures | None = None,
        share: tuple[int, int] = (0, 1),
        stream: dict[str, int] | None = None,
        judged: FrozenFeatures | None = None,
        least: int = 1,
    ) -> None:
        self.judged = judged
        self.stage, self.start, self.distillation, self.features = stage, start, distillation, features
        self.pool, self.images, self.stream = corpus.pool, corpus.images, corpus.stream
        self.resaving = corpus.data.resave
        self.max_length, self.pad_id, self.n_cells = corpus.max_length, distillation.student.vocabulary.pad_id, n_cells
        self.process, self.n_processes = share
        self.marks_machines = getattr(distillation.student.decoder, "marks_machines", False)
        in_parallel = distillation.student.kind == "parallel"
        compares = stage.invariance or stage.reads_beside
        self.masks = bool(stage.masked or stage.consistency or (compares and in_parallel))
        self.siblings: SiblingPool | None = None
        self.dealer: Dealer | None = None
        self.weights = corpus.weights if stage.inputs == "images" else None
        if stage.questions:
            self.dealer = Dealer(stage, self.pool, start.order_seed, least, distillation.longest_told())
        elif stage.inputs == "words":
            self.siblings, self.stream = SiblingPool(corpus.data, corpus.tokenizer, self.max_length, self.pad_id), None
            self.eligible = np.arange(len(self.siblings.groups))
        elif self.stream is not None:
            self.stream.begin(start.order_seed, start.step, self.stream.cursor_at(stream) if stream else Cursor())
        else:
            self.eligible = self.pool.with_sources(stage.sources)

    def position(self, step: int) -> dict[str, int] | None:
        """Where the stream stands before a step that was read, or the one after it; None if nothing is streamed."""
        return self.stream.position(step) if self.stream is not None else None

    def batch(self, step: int, generator: torch.Generator | None = None) -> Batch:
        """This process's share of a step's batch, on the CPU. A stream has to be read step by step.

        Args:
            generator: of the numbers drawn in PyTorch, seeded with the step's seed, which is the default.
        """
        position, stage = self.start.at(step), self.stage
        generator, rng = generator or position.torch_generator(), position.numpy_generator()
        progress = position.progress(stage.steps)
        tensors: dict[str, Tensor] = {}
        if self.dealer is not None:
            shares = self.dealer.deal(position)
            indices = np.array([share.image for share in shares])
            learned = self.draw_both(shares, rng, progress)
            rows = [row.token_ids for row in learned]
        else:
            indices, learned = self.indices(position), []
            rows, tensors = self.draw(indices, rng, progress)
        token_ids, padding_mask = map(torch.from_numpy, pad_tokens(rows, self.pad_id))
        lengths = (~padding_mask).sum(dim=1)
        tensors |= {"token_ids": token_ids, "lengths": lengths}
        if learned:
            tensors["learned"] = learned_mask(learned, token_ids.shape[1])
        if self.marks_machines:
            tensors["begin"] = self.begin_marks(indices, rows)
        forcing = position.forcing(stage.forcing, stage.steps)
        if forcing < 1 and self.distillation.reads_causally:
            tensors["given"] = torch.rand(token_ids.shape, generator=generator) < forcing
            if learned:  # a question is always the true one
                tensors["given"] |= ~tensors["learned"][:, :-1]
        if self.masks:
            tensors["masked"] = mask_tokens(token_ids, lengths, generator)
        batch = Batch.whole(tensors, indices).share(self.process, self.n_processes)
        if self.siblings is None:
            own = [row for row, keep in zip(rows, self.owned(len(rows), stage.rows), strict=True) if keep]
            batch.tensors.update(self.distillation.targets(batch.images, own, token_ids.shape[1]))
            batch.tensors.update(self.load(indices, rng, position))
            if self.judged is not None:
                batch.tensors["judged"] = self.judged[batch.images, np.zeros_like(batch.images)]
        return batch

    def indices(self, position: Position) -> NDArray[np.int64]:
        """The images of a step, or groups of captions: each of those eligible once an epoch, or as often as
        `data.weights` says; or the stream's next."""
        n = self.stage.images
        if self.stream is not None:
            return self.stream.advance(position.step, n)
        places = np.arange(position.step * n, (position.step + 1) * n)
        indices = np.empty(n, dtype=np.int64)
        for epoch in np.unique(places // len(self.eligible)):
            order = epoch_order(self.eligible, self.weights, [*position.order_seed, epoch])
            here = places // len(self.eligible) == epoch
            indices[here] = order[places[here] % len(self.eligible)]
        return indices

    def draw(
        self, indices: NDArray[np.int64], rng: np.random.Generator, progress: float
    ) -> tuple[list[list[int]], dict[str, Tensor]]:
        """Captions of B images, those of an image side by side; and `length_target` (B, L), the shares of their
        lengths, with `words` (B, N) where words stand in for images."""
        if self.siblings is None:
            rows = [row for i in indices for row in self.distillation.draw(int(i), rng, progress)]
            target = [self.distillation.length_target(int(i), progress) for i in indices]
            return rows, {"length_target": torch.from_numpy(np.stack(target))}
        drawn = [self.siblings.draw(int(i), self.stage.captions, self.n_cells, rng) for i in indices]
        target = [length_distribution(self.siblings.groups[i], self.max_length) for i in indices]
        words = np.stack([words for words, _ in drawn])
        tensors = {"words": torch.from_numpy(words), "length_target": torch.from_numpy(np.stack(target))}
        return [row for _, rows in drawn for row in rows], tensors

    def draw_both(self, shares: Sequence[Share], rng: np.random.Generator, progress: float) -> list[Row]:
        """Captions and conversations of B images, those of an image side by side."""
        rows = []
        for image, conversations, count in shares:
            captions = self.distillation.draw(image, rng, progress, count) if count else []
            answered = [self.distillation.answered(image, row, rng, progress) for row in conversations]
            rows += [*(Row(ids, [True] * (len(ids) + 1)) for ids in captions), *answered]
        return rows

    def begin_marks(self, indices: NDArray[np.int64], rows: Sequence[Sequence[int]]) -> Tensor:
        """The mark that each of R captions begins with, (R,): the end mark where machines alone have said it."""
        vocabulary, marks = self.distillation.student.vocabulary, []
        for index, row in zip(np.repeat(indices, self.stage.rows), rows, strict=True):
            said = self.pool.token_ids[index]
            by_machine = row in said.get("machine", ()) and row not in said.get("human", ())
            marks.append(vocabulary.eos_id if by_machine else vocabulary.bos_id)
        return torch.tensor(marks)

    def load(self, indices: NDArray[np.int64], rng: np.random.Generator, position: Position) -> dict[str, Tensor]:
        """What the model sees of this process's images: `features` (B, ...) of a view, or augmented `pixels`; and where
        the stage compares versions, the other version of the same view, `other_features` or `other_pixels`."""
        images, own = indices[self.process :: self.n_processes], self.owned(len(indices))
        if self.features is not None:
            views = rng.integers(self.features.views, size=len(indices))
            again = views + self.features.kept - self.features.views  # the re-saved ones
            if self.resaving.share:
                swap = rng.random(len(indices)) < self.resaving.share
                views, again = np.where(swap, again, views), np.where(swap, views, again)
            found = {"features": self.cropped(images, views[own], position)}
            if self.stage.compares_versions:
                found["other_features"] = self.cropped(images, again[own], position)
            return found
        source, pixels, others = self.stream.pixels if self.stream else self.images, [], []
        for index, here in zip(indices, own, strict=True):
            # another process's image is not read: augmenting a single pixel draws the same numbers
            image = source[int(index)] if here else np.zeros((1, 1, 3), np.uint8)
            augmented = other = augment(image, self.pool.said(int(index)), rng)
            if self.resaving.share:
                other = resave(augmented, rng, self.resaving)
                if rng.random() < self.resaving.share:
                    augmented, other = other, augmented
            pixels += [augmented] if here else []
            others += [other] if here else []
        found = {"pixels": torch.from_numpy(np.stack(pixels))}
        if self.stage.compares_versions:
            found["other_pixels"] = torch.from_numpy(np.stack(others))
        return found

    def cropped(self, images: NDArray[np.int64], views: NDArray[np.int64], position: Position) -> Tensor:
        """The features of a view of each image, cropped as the stage says: both versions of a view alike."""
        assert self.features is not None
        features = self.features[images, views]
        if self.stage.crop_scale == 1:
            return features
        texts = [self.pool.said(int(i)) for i in images]
        rngs = [np.random.default_rng([position.step_seed, int(i)]) for i in images]
        return crop_anew(features, texts, rngs, self.stage.crop_scale)

    def owned(self, n: int, rows: int = 1) -> NDArray[np.bool_]:
        """Which of n images, or of n caption rows of which an image has several, are this process's: (n,)."""
        return np.arange(n) // rows % self.n_processes == self.process
