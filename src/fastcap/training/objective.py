"""What a step computes: the losses of a batch, and their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fastcap.alignment.cmfa import contrastive_loss
from fastcap.backbone.base import Cut
from fastcap.config import LOSSES, StageConfig
from fastcap.data.batching import pad_tokens
from fastcap.layers import ImageTokens
from fastcap.losses.clip import clip_loss, held_still, said
from fastcap.losses.forcing import forced_tokens
from fastcap.losses.invariance import Reader, reading_divergence, token_distance
from fastcap.losses.language import balance_loss, causal_loss, length_loss, masked_loss, read_causally, read_masked
from fastcap.losses.reward import causal_reward_loss, reward_loss
from fastcap.losses.scr import agreement, consistency_loss
from fastcap.model import CaptionModel
from fastcap.training.distillation import Distillation
from fastcap.training.judge import ClipJudge
from fastcap.training.tracking import count_flops

__all__ = ["Reward", "TrainingStep"]

Reward = Callable[[Tensor], Tensor]  # captions (S, R, T) of token ids, padded -> CIDEr-D (S, R)


class TrainingStep(nn.Module):
    """A model and the losses of one stage behind one `forward`, as data-parallel wrappers need it.

    Args:
        cut: where the backbone continues from cached features, if the stage has any.
        judge: of the CLIP loss; None for the model's own alignment.
    """

    def __init__(
        self,
        model: CaptionModel,
        distillation: Distillation,
        stage: StageConfig,
        cut: Cut | None,
        judge: ClipJudge | None = None,
    ) -> None:
        super().__init__()
        self.model, self.distillation, self.stage, self.cut, self.judge = model, distillation, stage, cut, judge
        self.captions = any(parameter.requires_grad for parameter in model.decoder.parameters())

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters by name: the model's, and distillation.NAME."""
        return {name.removeprefix("model."): parameter for name, parameter in self.named_parameters()}

    def weights(self, progress: float) -> dict[str, float]:
        """The weight of each loss in the sum of all, at a progress of 0..1 through the stage."""
        return {name: getattr(self.stage, name) for name in LOSSES} | self.distillation.weights(progress)

    def forward(self, *arguments: Any) -> dict[str, Tensor]:
        """As `losses`."""
        return self.losses(*arguments)

    def encode(self, batch: dict[str, Tensor], version: str = "") -> ImageTokens:
        """The image tokens of a batch: of words in place of images, of cached features, or of pixels; of the other
        version of the images where `version` is "other_"."""
        if "words" in batch:
            return self.model.encode_words(batch["words"])
        if f"{version}features" in batch:
            assert self.cut is not None
            return self.cut.resume(batch[f"{version}features"])
        return self.model.encode(batch[f"{version}pixels"])

    def losses(self, batch: dict[str, Tensor], reward: Reward, generator: torch.Generator) -> dict[str, Tensor]:
        """The losses of a batch by name, unweighted, and figures to watch; what no loss needs is not computed."""
        model, stage, image = self.model, self.stage, self.encode(batch)
        token_ids, lengths = batch["token_ids"], batch["lengths"]
        losses = {}
        if stage.contrastive:
            texts = model.read_texts(token_ids, lengths)
            losses["contrastive"] = contrastive_loss(model.alignment, stage.contrast, image, *texts)
        if not self.captions:
            return losses
        state = model.decoder.prepare(image)
        if stage.length:
            losses["length"] = length_loss(model.length_predictor(image.pooled), batch["length_target"])
        losses |= self.distillation.feature_losses(batch, image.pooled)
        if self.distillation.reads_causally:
            begin, chosen = batch.get("begin"), batch.get("given")
            given = forced_tokens(model.decoder, state, token_ids, lengths, chosen, stage.forcing.passes, begin)
            causal = read_causally(model.decoder, state, given, lengths, begin)
            learned = batch.get("learned")
            losses["causal"] = causal_loss(model.decoder, causal, token_ids, lengths, stage.smoothing, learned)
            losses |= self.distillation.logits_losses(batch, model.decoder, causal)
            if stage.clip_loss:
                losses["clip_loss"] = self.clip_loss(batch, image, causal)
        if stage.masked or stage.consistency:
            masked = batch["masked"]
            parallel = read_masked(model.decoder, state, token_ids, lengths, masked)
            losses["masked"] = masked_loss(model.decoder, parallel, token_ids, masked, stage.smoothing)
        if stage.consistency:
            both = [model.decoder.project(hidden[:, : masked.shape[1]][masked]) for hidden in (causal, parallel)]
            losses["consistency"] = consistency_loss(*both)
            losses["agreement"] = agreement(*both)  # a figure to watch, not a loss: it has no weight
        losses |= self.distillation.reading_losses(batch, Reader(model, image, state))
        if stage.compares_versions:
            losses |= self.invariance(batch, image, state)
        if stage.reward:
            losses["reward"], losses["cider_sampled"] = self.reward(state, lengths, reward, generator)
        if stage.causal_reward:
            losses["causal_reward"], losses["cider_drawn"] = self.causal_reward(image, state, reward, generator)
        if getattr(state, "routings", ()):  # before the readings for routed images, after them for routed tokens
            losses["balance"] = balance_loss(state)
        return losses

    def invariance(self, batch: dict[str, Tensor], image: ImageTokens, state: Any) -> dict[str, Tensor]:
        """How far the other version of the images is from this one: its tokens; and what is read of it, the mean over
        the causal and the parallel reading of the batch's captions, lengths and the choice of experts, where there are
        such. Without dropout, whose noise is not the picture's. This version is the target."""
        model, training = self.model, self.model.training
        other = self.encode(batch, "other_")
        losses = {"token_invariance": token_distance(image.tokens, other.tokens)}
        if self.stage.invariance:
            model.eval()
            readers = Reader(model, image, state), Reader(model, other, model.decoder.prepare(other))
            losses["invariance"] = reading_divergence(*readers, batch)
            model.train(training)
        return losses

    def clip_loss(self, batch: dict[str, Tensor], image: ImageTokens, causal: Tensor) -> Tensor:
        """How far a judge finds the captioner's words from the pictures; `causal` (R, T + 1, D) of `read_causally`."""
        words, lengths, model = said(self.model.decoder, causal), batch["lengths"], self.model
        if self.judge is not None:
            return clip_loss(batch["judged"], self.judge.embed_texts(words, lengths))
        with held_still(model.decoder, model.alignment):
            texts = model.alignment.embed_text(*model.read_expected(words, lengths))
            return clip_loss(model.alignment.embed_image(image).detach(), texts)

    def flops(self, batch: dict[str, Tensor]) -> int:
        """Floating-point operations of a forward pass, which changes no state."""
        self.eval()
        reward = lambda captions: torch.zeros(captions.shape[:2])  # noqa: E731
        flops = count_flops(lambda: self.losses(batch, reward, torch.Generator()))
        self.train()
        return flops

    def reward(self, state: Any, lengths: Tensor, reward: Reward, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Self-critical loss of one refinement pass, chosen evenly: the first reads masks alone, a later one what the
        passes before it would have kept."""
        refiner = self.model.refiner
        steps = torch.arange(int(lengths.max()), device=lengths.device)
        inside = steps < lengths[:, None]
        token_ids = torch.full_like(inside, self.model.vocabulary.pad_id, dtype=torch.long)
        masked = inside
        done = int(torch.randint(refiner.passes, (), generator=generator))
        if done:
            with torch.no_grad():
                earlier = refiner(self.model.decoder, state, lengths, len(steps), passes=done)
                token_ids = earlier.token_ids
                n_masked = lengths * (refiner.passes - done) // refiner.passes
                masked = refiner.least_certain(earlier.probabilities, n_masked) & inside
        return reward_loss(self.model.decoder, state, token_ids, lengths, masked, self.stage.samples, reward, generator)

    def causal_reward(
        self, image: ImageTokens, state: Any, reward: Reward, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Self-critical loss of captions sampled from left to right, without dropout, as users get them."""
        training, samples = self.model.training, self.stage.samples
        self.model.eval()
        seed = int(torch.randint(2**31, (), generator=generator))
        drawn = self.model.sample(image, samples, seed=seed)
        self.model.train(training)
        rows = [caption.token_ids for captions in drawn for caption in captions]
        padded = pad_tokens(rows, self.model.vocabulary.pad_id)
        token_ids, padding_mask = (torch.from_numpy(part).to(image.tokens.device) for part in padded)
        return causal_reward_loss(self.model.decoder, state, token_ids, (~padding_mask).sum(dim=1), samples, reward)
