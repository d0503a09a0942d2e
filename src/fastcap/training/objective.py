"""What a step computes: the losses of a batch, of all kinds that a stage can ask for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastcap.alignment.cmfa import contrastive_loss
from fastcap.config import StageConfig
from fastcap.data.batching import pad_tokens
from fastcap.layers import ImageTokens
from fastcap.losses.forcing import forced_tokens
from fastcap.losses.language import balance_loss, causal_loss, length_loss, masked_loss, read_causally, read_masked
from fastcap.losses.reward import causal_reward_loss, reward_loss
from fastcap.losses.scr import agreement, consistency_loss
from fastcap.model import CaptionModel
from fastcap.training.distillation import Distillation
from fastcap.vocabulary import PAD

__all__ = ["TrainingStep"]


class TrainingStep(nn.Module):
    """A model and its losses behind one `forward`, as data-parallel wrappers need it."""

    def __init__(self, model: CaptionModel, distillation: Distillation) -> None:
        super().__init__()
        self.model = model
        self.distillation = distillation

    def forward(self, *arguments: Any) -> dict[str, Tensor]:
        """As `losses`."""
        return self.losses(*arguments)

    def losses(
        self, batch: dict[str, Tensor], stage: StageConfig, reward: Any, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The losses of a batch by name, unweighted, and figures to watch; what no loss needs is not computed."""
        model = self.model
        backbone = model.backbone
        if "words" in batch:
            image = model.encode_words(batch["words"])
        elif "tokens" in batch:
            image = backbone.summarised(batch["tokens"])
        elif "features" in batch:
            image = backbone.mix(batch["features"])
        else:
            image = model.encode(batch["pixels"])
        token_ids, lengths = batch["token_ids"], batch["lengths"]
        losses = {}
        if stage.contrastive:
            embedded = model.decoder.embedding(token_ids)
            losses["contrastive"] = contrastive_loss(model.alignment, stage.contrast, image, embedded, lengths)
        if stage.freeze == "captioner":
            return losses
        state = model.decoder.prepare(image)
        if stage.length:
            losses["length"] = length_loss(model.length_predictor(image.pooled), batch["length_target"])
        losses |= self.distillation.feature_losses(batch, image.pooled)
        if self.distillation.reads_causally:
            given = forced_tokens(model.decoder, state, token_ids, lengths, batch.get("given"), stage.forcing.passes)
            causal = read_causally(model.decoder, state, given, lengths)
            losses["causal"] = causal_loss(model.decoder, causal, token_ids, lengths, stage.smoothing)
            losses |= self.distillation.logits_losses(batch, model.decoder, causal)
        if "masked" in batch:
            masked = batch["masked"]
            parallel = read_masked(model.decoder, state, token_ids, lengths, masked)
            losses["masked"] = masked_loss(model.decoder, parallel, token_ids, masked, stage.smoothing)
        if stage.consistency:
            both = [model.decoder.project(hidden[:, : masked.shape[1]][masked]) for hidden in (causal, parallel)]
            losses["consistency"] = consistency_loss(*both)
            losses["agreement"] = agreement(*both)  # a figure to watch, not a loss: it has no weight
        if stage.reward:
            losses["reward"], losses["cider_sampled"] = self.reward(
                image, state, lengths, stage.samples, reward, generator
            )
        if stage.causal_reward:
            losses["causal_reward"], losses["cider_drawn"] = self.causal_reward(
                image, state, stage.samples, reward, generator
            )
        if state.routings:  # known before the readings where images are routed, after them where tokens are
            losses["balance"] = balance_loss(state)
        return losses

    def reward(
        self,
        image: ImageTokens,
        state: Any,
        lengths: Tensor,
        samples: int,
        reward: Any,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Self-critical loss of one refinement pass, drawn evenly: the first sees masks only, a later one what the
        passes before it would have kept."""
        refiner = self.model.refiner
        steps = torch.arange(int(lengths.max()), device=lengths.device)
        inside = steps < lengths[:, None]
        token_ids = torch.full_like(inside, PAD, dtype=torch.long)
        masked = inside
        done = int(torch.randint(refiner.passes, (), generator=generator))
        if done:
            with torch.no_grad():
                earlier = refiner(self.model.decoder, state, lengths, len(steps), passes=done)
                token_ids = earlier.token_ids
                masked = (
                    refiner.least_certain(earlier.probabilities, lengths * (refiner.passes - done) // refiner.passes)
                    & inside
                )
        return reward_loss(self.model.decoder, state, token_ids, lengths, masked, samples, reward, generator)

    def causal_reward(
        self, image: ImageTokens, state: Any, samples: int, reward: Any, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Self-critical loss of captions drawn from left to right; they are drawn without dropout, as users are told
        them."""
        training = self.model.training
        self.model.eval()
        seed = int(torch.randint(2**31, (), generator=generator))
        drawn = self.model.sample(image, samples, seed=seed)
        self.model.train(training)
        rows = [caption.token_ids for captions in drawn for caption in captions]
        token_ids, padding_mask = (torch.from_numpy(part).to(image.tokens.device) for part in pad_tokens(rows, PAD))
        return causal_reward_loss(self.model.decoder, state, token_ids, (~padding_mask).sum(dim=1), samples, reward)
