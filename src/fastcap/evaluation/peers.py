"""Other captioners' architectures, rebuilt from public configurations and timed beside fastcap in one run.

Weights are random: time, memory and size do not depend on them, and nothing is downloaded. Quality does depend on
them, so nothing is said here about the peers' captions; their published ones are far better than ours.

Every peer generates exactly `NEW_TOKENS` tokens, greedily, with its key-value cache, in eager PyTorch fp32 on one
thread, which is how these models run by default. Each runs in its own process, so that its memory can be measured.

    python -m fastcap.evaluation.peers blip-base --repeats 3      # one line of JSON
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastcap.errors import FastcapError
from fastcap.evaluation.speed import Timing, peak_memory_mb, run_python

if TYPE_CHECKING:
    import torch

__all__ = ["NEW_TOKENS", "PEERS", "Peer", "measure_peer", "measure_peers"]

NEW_TOKENS = 12
"""Tokens that every peer generates: about those of a COCO caption (10.5 words)."""

VIT_BASE: dict[str, Any] = dict(
    hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, patch_size=16
)
GPT2: dict[str, Any] = dict(vocab_size=50257, n_positions=1024, n_embd=768, n_head=12, add_cross_attention=True)
SMOLLM_135M: dict[str, Any] = dict(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    max_position_embeddings=2048,
    rms_norm_eps=1e-5,
    tie_word_embeddings=True,
)
BLIP_TEXT: dict[str, Any] = dict(
    vocab_size=30524,
    hidden_size=768,
    encoder_hidden_size=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    intermediate_size=3072,
    max_position_embeddings=512,
)

FORCED: dict[str, Any] = dict(
    min_new_tokens=NEW_TOKENS, max_new_tokens=NEW_TOKENS, do_sample=False, num_beams=1, use_cache=True
)

Generate = Callable[["torch.Tensor"], "torch.Tensor"]
"""Pixels (1, 3, H, W) -> the new token ids (1, `NEW_TOKENS`)."""


@dataclass(frozen=True)
class Peer:
    """How to build one peer: `build()` returns its network and the function that captions with it.

    Builders declare their models as `Any`, since the library's own annotations of `generate` do not type-check.
    """

    source: str
    image_size: int
    build: Callable[[], tuple[torch.nn.Module, Generate]]


def _vit_gpt2(n_layers: int) -> tuple[torch.nn.Module, Generate]:
    from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

    encoder = ViTConfig(image_size=224, **VIT_BASE)
    decoder = GPT2Config(n_layer=n_layers, **GPT2)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    model: Any = VisionEncoderDecoderModel(config=config)
    special: dict[str, Any] = dict(decoder_start_token_id=50256, pad_token_id=50256, eos_token_id=50256)
    # The decoder start token comes first in the answer and was not generated.
    return model, lambda pixels: model.generate(pixels, **special, **FORCED)[:, 1:]


def _siglip_smollm() -> tuple[torch.nn.Module, Generate]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel

    # The pooling head is left out: the language model reads the patches.
    encoder = SiglipVisionModel(SiglipVisionConfig(image_size=224, vision_use_head=False, **VIT_BASE))
    decoder: Any = LlamaForCausalLM(LlamaConfig(**SMOLLM_135M))
    projection = torch.nn.Linear(VIT_BASE["hidden_size"], SMOLLM_135M["hidden_size"])
    model = torch.nn.ModuleDict({"encoder": encoder, "projection": projection, "decoder": decoder})
    special: dict[str, Any] = dict(bos_token_id=0, pad_token_id=0, eos_token_id=0)

    def generate(pixels: torch.Tensor) -> torch.Tensor:
        prefix = projection(encoder(pixels).last_hidden_state)  # (1, 196, 576)
        start = decoder.get_input_embeddings()(torch.zeros(1, 1, dtype=torch.long))
        embeddings = torch.cat([prefix, start], dim=1)
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long)
        return decoder.generate(inputs_embeds=embeddings, attention_mask=mask, **special, **FORCED)

    return model, generate


def _blip_base() -> tuple[torch.nn.Module, Generate]:
    from transformers import BlipConfig, BlipForConditionalGeneration

    model = BlipForConditionalGeneration(
        BlipConfig(text_config=BLIP_TEXT, vision_config=dict(image_size=384, **VIT_BASE))
    )
    return model, lambda pixels: model.generate(pixels, **FORCED)[:, 1:]


PEERS: dict[str, Peer] = {
    "distilvit-old": Peer("ViT-B/16 at 224 + DistilGPT2 with cross-attention", 224, lambda: _vit_gpt2(6)),
    "distilvit-new": Peer("SigLIP-B/16 at 224 + linear projection + SmolLM-135M", 224, _siglip_smollm),
    "vit-gpt2": Peer("ViT-B/16 at 224 + GPT-2 with cross-attention", 224, lambda: _vit_gpt2(12)),
    "blip-base": Peer("ViT-B/16 at 384 + 12-layer BERT decoder with cross-attention", 384, _blip_base),
}


def measure_peer(name: str, repeats: int, seed: int = 0) -> dict[str, Any]:
    """Build the peer `name` in this process and time it: pixels in memory to token ids, one thread.

    Reading and resizing the photo is left out, in favour of the peers. One warm-up call is not counted.
    """
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    peer = PEERS[name]
    started = time.perf_counter()
    model, generate = peer.build()
    model.eval()
    build_seconds = time.perf_counter() - started
    pixels = torch.rand(1, 3, peer.image_size, peer.image_size)
    with torch.inference_mode():
        n_new = generate(pixels).shape[1]
        if n_new != NEW_TOKENS:
            raise FastcapError(f"{name} generated {n_new} tokens, and only {NEW_TOKENS} can be compared")
        timing = Timing.of(lambda: generate(pixels), repeats, warm_up=0)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "name": name,
        "architecture": peer.source,
        "new_tokens": n_new,
        "threads": 1,
        **timing.as_json(),
        "parameters_millions": round(n_parameters / 1e6, 1),
        "fp32_mb": round(n_parameters * 4 / 1e6, 1),
        "peak_memory_mb": peak_memory_mb(),
        "build_seconds": round(build_seconds, 1),
    }


def measure_peers(names: list[str], repeats: int, seed: int = 0) -> list[dict[str, Any]]:
    """Measure each peer in a fresh process, one after the other, in the order of `names`.

    Raises `FastcapError` when a peer fails.
    """
    return [
        json.loads(run_python("-m", __name__, name, "--repeats", str(repeats), "--seed", str(seed)).splitlines()[-1])
        for name in names
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time one peer's architecture with random weights.")
    parser.add_argument("name", choices=PEERS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps(measure_peer(arguments.name, arguments.repeats, arguments.seed)))


if __name__ == "__main__":
    main()
