"""Train a small language model of our own on captions and questions: a part for `model.decoder.language_model`.

    python scripts/train_language_model.py --root data --out parts/tiny-language-model \
        --texts text/flickr30k_train.txt.gz coco/conversations_train.json

A decoder-only model (Llama) that knows everyday sentences and how questions are answered, a thirtieth of the smallest
one that others have trained. It reads a caption a line of .txt and .txt.gz, and conversations of .json in the form that
prefix models read. Interrupted, it saves, and the same command goes on from there.

A step's texts are about equally long: drawn at random, 59 in 100 tokens of a batch of captions were padding.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from tokenizers import Tokenizer
from torch.nn import functional as F

from fastcap.checkpoint import load_tensors
from fastcap.config import PrefixConfig
from fastcap.data.tokenizer import train_tokenizer
from fastcap.errors import ConfigError, DataError, FastcapError
from fastcap.files import folder_written_aside
from fastcap.runtime.conversation import check_turns, encode_training, read_turns, render
from fastcap.runtime.encoding import clean_caption, encode
from fastcap.training.interrupts import held_signals

HELD_BACK = 50  # every so many texts is not learnt from, and tells how likely the model finds new ones
BATCH, CONTEXT = 64, 64  # texts a step, and most tokens of one
GROUP = 32  # steps whose texts are drawn together and sorted by length
WARMUP = 100
PAD, BEGIN, END = 0, 1, 2  # ids that `train_tokenizer` gives


def read(path: Path) -> Iterator[Any]:
    """Captions as text, conversations as turns.

    Raises:
        DataError: the file is missing, or is none of these.
    """
    try:
        if path.suffix == ".json":
            for record in json.loads(path.read_bytes()):
                yield check_turns(read_turns(record["conversations"]), asks=False)
            return
        opener: Any = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as lines:
            yield from filter(None, map(clean_caption, lines))
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def token_ids(tokenizer: Tokenizer, text: Any, template: str) -> list[int]:
    """One text as the model reads it, from the begin mark to the end mark."""
    own = encode(tokenizer, text) if isinstance(text, str) else encode_training(tokenizer, text, template, END)[0]
    return [BEGIN, *own, END][:CONTEXT]


def new_model(vocab_size: int, width: int, layers: int) -> Any:
    """A Llama with random weights, whose heads have 64 numbers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = max(1, width // 64)
    sizes = {"hidden_size": width, "intermediate_size": width * 8 // 3 // 32 * 32 or 32, "num_hidden_layers": layers}
    marks = {"bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": PAD}
    config = LlamaConfig(
        vocab_size=vocab_size, num_attention_heads=heads, max_position_embeddings=512, tie_word_embeddings=True,
        attn_implementation="eager",  # texts are short: twice as fast on a CPU as the fused kernel's backward pass
        **sizes, **marks,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def loss_of(model: Any, rows: list[list[int]]) -> torch.Tensor:
    """The mean loss a token of some texts; the head reads no padding."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
    real = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
    hidden = model.model(input_ids=ids, attention_mask=real.long(), use_cache=False)[0][:, :-1]
    return F.cross_entropy(model.lm_head(hidden[real[:, 1:]]).float(), ids[:, 1:][real[:, 1:]])


def drawn_texts(step: int, lengths: np.ndarray, seed: int) -> np.ndarray:
    """Which BATCH texts a step reads, a function of the step alone; those of a step are about equally long."""
    group, place = divmod(step, GROUP)
    rng = np.random.default_rng([seed, group])
    drawn = rng.integers(len(lengths), size=GROUP * BATCH)
    batches = drawn[np.argsort(lengths[drawn], kind="stable")].reshape(GROUP, BATCH)
    return batches[rng.permutation(GROUP)[place]]


@torch.no_grad()
def held_back_loss(model: Any, rows: list[list[int]]) -> float:
    """The loss of texts that were not learnt from."""
    model.eval()
    losses = [float(loss_of(model, rows[start : start + BATCH])) for start in range(0, len(rows), BATCH)]
    model.train()
    return float(np.mean(losses))


def save(out: Path, model: Any, tokenizer: Tokenizer, state: dict[str, Any] | None) -> None:
    """Write the part, with the state from which to go on unless it is done."""
    with folder_written_aside(out) as folder:
        model.save_pretrained(folder)
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<bos>", "eos_token": "<eos>"}))
        if state is not None:
            torch.save(state, folder / "state.pt")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the texts")
    parser.add_argument(
        "--texts", nargs="+", required=True, metavar="FILE", help=".txt, .txt.gz or .json, below --root"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8000, help=f"of {BATCH} texts")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--template", default=PrefixConfig().template)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--precision", choices=("no", "bf16"), default="no", help="bf16: products of 16 bits")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    texts = [text for name in args.texts for text in read(args.root / name)]
    saved = args.out / "state.pt"
    if (args.out / "config.json").is_file() and not saved.is_file():
        raise SystemExit(f"{args.out} is there already; remove it to train anew")
    plain = (text if isinstance(text, str) else render(text, args.template) for text in texts)
    tokenizer = (
        Tokenizer.from_file(str(args.out / "tokenizer.json")) if saved.is_file()
        else train_tokenizer(plain, args.vocab_size)
    )  # fmt: skip
    rows = [token_ids(tokenizer, text, args.template) for text in texts]
    held_back, rows = rows[::HELD_BACK], [row for index, row in enumerate(rows) if index % HELD_BACK]
    torch.manual_seed(args.seed)
    model = new_model(tokenizer.get_vocab_size(), args.width, args.layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=0.05, betas=(0.9, 0.98))
    first = 0
    if saved.is_file():
        model.load_state_dict(load_tensors(args.out / "model.safetensors"), strict=False)  # the tied head is left out
        state = torch.load(saved, weights_only=True)
        optimizer.load_state_dict(state["optimizer"])
        first = int(state["step"])
    print(f"{len(rows)} texts, {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, from step {first}")
    lengths = np.array([len(row) for row in rows])
    with Progress() as progress, held_signals() as asked:
        task = progress.add_task("language model", total=args.steps, completed=first)
        for step in range(first, args.steps):
            drawn = drawn_texts(step, lengths, args.seed)
            loss = learn(model, optimizer, [rows[index] for index in drawn], step, args)
            progress.update(task, advance=1, description=f"loss {loss:.2f}")
            if (asked or (step + 1) % args.save_every == 0) and step + 1 < args.steps:
                save(args.out, model, tokenizer, {"optimizer": optimizer.state_dict(), "step": step + 1})
            if asked and step + 1 < args.steps:
                raise KeyboardInterrupt(f"interrupted and saved after {step + 1} steps")
    print(f"loss of held-back texts: {held_back_loss(model, held_back):.3f} nats a token")
    save(args.out, model, tokenizer, None)


def learn(model: Any, optimizer: torch.optim.Optimizer, rows: list[list[int]], step: int, args: Any) -> float:
    """One step of the optimiser; returns the loss."""
    rate = min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / args.steps))
    for group in optimizer.param_groups:
        group["lr"] = args.learning_rate * rate
    with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
        loss = loss_of(model, rows)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


if __name__ == "__main__":
    try:
        main()
    except FastcapError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt as interrupt:
        print(f"{interrupt}; the same command goes on from there" if interrupt.args else "interrupted")
        raise SystemExit(130) from None
