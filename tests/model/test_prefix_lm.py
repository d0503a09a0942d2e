"""A language model of transformers that reads an image as a prefix: parity at tiny random sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fastcap.backbone.token_selection import TokenSelection
from fastcap.decoder.lora import adapter_state, add_adapters, load_adapters, lora_targets, merge_adapters
from fastcap.decoder.prefix_lm import PrefixLM, PrefixStepper, unfreeze_layers
from fastcap.decoder.projection import Projection
from fastcap.errors import ConfigError, ModelFileError
from fastcap.generation.autoregressive import beam_search, greedy_search
from fastcap.layers import ImageTokens, pool_grid
from fastcap.losses.language import causal_loss, read_causally
from fastcap.vocabulary import Vocabulary

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
BOS, EOS = 1, 2
MARKS = {"vocab_size": 60, "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": 0}
FAMILIES = {
    "llama": lambda: transformers.LlamaConfig(**SIZES, **MARKS, num_key_value_heads=2, tie_word_embeddings=True),
    "qwen2": lambda: transformers.Qwen2Config(**SIZES, **MARKS, num_key_value_heads=2),
    "phi": lambda: transformers.PhiConfig(**SIZES, **MARKS),
    "gpt2": lambda: transformers.GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=64, **MARKS),
}
ATTENTION = {
    "llama": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"],
    "qwen2": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"],
    "phi": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.dense"],
    "gpt2": ["attn.c_attn", "attn.c_proj"],
}


def language_model(family: str):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(FAMILIES[family]())
    with torch.no_grad():  # nothing stands at 0 or 1
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model.eval()


def prefix_model(family: str, **projection) -> PrefixLM:
    model = language_model(family)
    projection = Projection(**{"d_image": 24, "d_model": 32, "selection": TokenSelection(24, 16, 4), **projection})
    return PrefixLM(model, projection, Vocabulary(size=model.config.vocab_size), max_length=12).eval()


@pytest.fixture(params=FAMILIES)
def decoder(request) -> PrefixLM:
    return prefix_model(request.param)


def images(count: int = 2) -> ImageTokens:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randn(count, 16, 24, generator=generator)
    return ImageTokens(tokens, tokens.mean(dim=1))


def captions(rows: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Padded token ids (R, T) and lengths (R,), of several lengths."""
    generator = torch.Generator().manual_seed(2)
    lengths = torch.tensor([5, 2, 7, 3, 1, 4])[:rows]
    token_ids = torch.randint(5, 60, (rows, 7), generator=generator)
    return token_ids * (torch.arange(7) < lengths[:, None]), lengths


# --- reading ------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_packed_reading_equals_one_caption_at_a_time(decoder):
    state = decoder.prepare(images())
    token_ids, lengths = captions()
    packed = decoder.hidden(token_ids, state, lengths=lengths)
    alone = decoder.hidden_reference(token_ids, state, lengths)
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_loss_is_that_of_transformers_with_the_caption_alone_as_labels(decoder):
    state = decoder.prepare(images())
    token_ids, lengths = captions()
    ours = causal_loss(decoder, read_causally(decoder, state, token_ids, lengths), token_ids, lengths, 0.0)
    total = count = 0.0
    for row, length in enumerate(lengths.tolist()):
        said = torch.cat([torch.tensor([BOS]), token_ids[row, :length], torch.tensor([EOS])])
        words = torch.cat([state[row // 3], decoder.embed(said)])[None]
        labels = torch.cat([torch.full((state.shape[1] + 1,), -100), said[1:]])[None]  # image and begin mark: no label
        loss = decoder.language_model(inputs_embeds=words, labels=labels).loss
        total, count = total + float(loss) * (length + 1), count + length + 1
    assert float(ours) == pytest.approx(total / count, rel=1e-4)


def test_padding_reaches_neither_loss_nor_gradient(decoder):
    token_ids, lengths = captions()
    results = []
    for padding in (0, 17):
        decoder.zero_grad()
        padded = torch.where(torch.arange(7) < lengths[:, None], token_ids, torch.full_like(token_ids, padding))
        hidden = read_causally(decoder, decoder.prepare(images()), padded, lengths)
        loss = causal_loss(decoder, hidden, padded, lengths, 0.0)
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in decoder.parameters() if p.grad is not None)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@torch.no_grad()
def test_a_later_word_changes_no_earlier_state_and_no_other_caption(decoder):
    state = decoder.prepare(images())
    token_ids, lengths = captions()
    before = decoder.hidden(token_ids, state, lengths=lengths)
    token_ids[0, 3] = 5 if token_ids[0, 3] != 5 else 6
    after = decoder.hidden(token_ids, state, lengths=lengths)
    torch.testing.assert_close(before[0, :3], after[0, :3])
    torch.testing.assert_close(before[1:], after[1:])
    assert not torch.allclose(before[0, 3:5], after[0, 3:5])


@torch.no_grad()
def test_stepping_with_a_cache_equals_reading_at_once(decoder):
    state = decoder.prepare(images())
    token_ids, _ = captions()
    token_ids = torch.randint(5, 60, token_ids.shape, generator=torch.Generator().manual_seed(3))
    whole = decoder.logits(token_ids, state).log_softmax(dim=-1)
    stepper = PrefixStepper(decoder)
    running = stepper.start(state, 3)
    for position in range(token_ids.shape[1]):
        log_p, running = stepper.step(token_ids[:, position].numpy(), running, np.arange(6))
        np.testing.assert_allclose(log_p, whole[:, position].numpy(), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_greedy_is_beam_one_and_says_what_transformers_generates(decoder):
    image = images()
    state = decoder.prepare(image)
    limits = {"max_length": 8, "bos_id": BOS, "eos_id": EOS, "min_length": 0}
    # the search never says a word twice in a row; the reference is told so as well
    greedy = greedy_search(PrefixStepper(decoder), state, 2, **limits)
    again = beam_search(PrefixStepper(decoder), state, 2, beams=1, **limits)
    assert [g.token_ids for g in greedy] == [b[0].token_ids for b in again]
    for row, said in enumerate(greedy):
        words, expected = [BOS], []
        for _ in range(8):
            hidden = decoder.hidden(torch.tensor([words]), state[row : row + 1])
            logits = decoder.project(hidden[0, -1])
            logits[words[-1]] = -torch.inf
            words.append(int(logits.argmax()))
            if words[-1] == EOS:
                break
            expected.append(words[-1])
        assert said.token_ids == expected


@torch.no_grad()
def test_beam_search_reorders_the_cache(decoder):
    state = decoder.prepare(images())
    limits = {"max_length": 5, "bos_id": BOS, "eos_id": EOS, "length_penalty": 0.0}
    for hypotheses in beam_search(PrefixStepper(decoder), state, 2, beams=3, **limits):
        assert hypotheses
    for row, hypotheses in enumerate(beam_search(PrefixStepper(decoder), state, 2, beams=3, **limits)):
        for hypothesis in hypotheses:
            said = torch.tensor([[BOS, *hypothesis.token_ids]])
            log_p = decoder.logits(said, state[row : row + 1])[0].log_softmax(dim=-1)
            target = torch.tensor([*hypothesis.token_ids, EOS])
            score = float(log_p[torch.arange(len(target)), target].sum())
            if len(hypothesis.token_ids) < 5:
                assert hypothesis.score == pytest.approx(score, abs=1e-3)


@torch.no_grad()
def test_a_prompt_stands_between_image_and_caption(decoder):
    token_ids, lengths = captions()
    prompt = [9, 11]
    prompted = decoder.prepare(images(), prompt)
    assert prompted.shape == (2, 6, 32)
    hidden = decoder.hidden(token_ids, prompted, lengths=lengths)
    words = torch.cat(
        [decoder.prepare(images())[:1], decoder.embed(torch.tensor([[*prompt, *token_ids[0, :5]]]))], dim=1
    )
    whole = decoder.body(inputs_embeds=words, use_cache=False)[0][0, 6:]
    torch.testing.assert_close(hidden[0, :5], whole, rtol=1e-4, atol=1e-5)


def test_there_is_no_parallel_reading():
    decoder = prefix_model("llama")
    with pytest.raises(ValueError, match="from left to right only"):
        decoder.hidden(torch.zeros(2, 3, dtype=torch.long), decoder.prepare(images()), causal=False)


# --- projection ---------------------------------------------------------------------------------------------


def test_pooling_means_neighbouring_tokens():
    tokens = torch.arange(16.0).view(1, 16, 1)
    assert pool_grid(tokens, 4)[0, :, 0].tolist() == [2.5, 4.5, 10.5, 12.5]
    assert pool_grid(tokens, 16) is tokens
    assert pool_grid(torch.randn(1, 49, 3), 16).shape == (1, 16, 3)
    for count in (5, 25):
        with pytest.raises(ValueError, match="cannot be pooled"):
            pool_grid(tokens, count)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_new_projection_speaks_as_loud_as_words(kind):
    torch.manual_seed(0)
    projection = Projection(200, 64, TokenSelection(200, 49, 16), kind, d_hidden=300, scale=0.2)
    prefix = projection(5 * torch.randn(8, 49, 200))
    assert prefix.shape == (8, 16, 64)
    assert 0.05 < float(prefix.detach().square().mean().sqrt()) < 0.4


def test_a_projection_of_another_width_or_kind_is_refused():
    with pytest.raises(ModelFileError, match="tokens of 16 numbers, the language model reads 32"):
        prefix_model("llama", d_model=16)
    with pytest.raises(ModelFileError, match="knows 60 tokens, the vocabulary has 61"):
        PrefixLM(
            language_model("llama"), Projection(24, 32, TokenSelection(24, 16, 4)), Vocabulary(size=61), max_length=12
        )
    with pytest.raises(ValueError, match="projection is 'conv'; allowed: linear, mlp"):
        Projection(8, 8, TokenSelection(8, 16, 4), kind="conv")


# --- what is trained ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_matrices_of_attention_are_found_in_every_family(family):
    model = language_model(family)
    assert lora_targets(model) == ATTENTION[family]
    everything = lora_targets(model, "all")
    assert set(ATTENTION[family]) < set(everything)
    assert not any("head" in name or "embed" in name or "wte" in name for name in everything)
    with pytest.raises(ConfigError, match="adapter targets are 'some'; allowed: attention, all"):
        lora_targets(model, "some")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("where", ["attention", "all"])
def test_adapters_begin_as_nothing_learn_and_merge_exactly(family, where):
    pytest.importorskip("peft")
    decoder = prefix_model(family)
    token_ids, lengths = captions()
    frozen = {name: value.clone() for name, value in decoder.language_model.state_dict().items()}
    before = decoder.logits(token_ids, decoder.prepare(images()), lengths=lengths)
    add_adapters(decoder.language_model, rank=4, alpha=8, dropout=0.0, where=where)
    torch.testing.assert_close(decoder.logits(token_ids, decoder.prepare(images()), lengths=lengths), before)

    optimizer = torch.optim.AdamW([parameter for parameter in decoder.parameters() if parameter.requires_grad], 3e-3)
    losses = []
    for _ in range(4):
        hidden = read_causally(decoder, decoder.prepare(images()), token_ids, lengths)
        loss = causal_loss(decoder, hidden, token_ids, lengths, 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    for name, value in decoder.language_model.state_dict().items():
        if "lora_" not in name:
            assert torch.equal(value, frozen[name.replace(".base_layer", "")]), name

    after = decoder.logits(token_ids, decoder.prepare(images()), lengths=lengths)
    merge_adapters(decoder.language_model)
    assert decoder.language_model.state_dict().keys() == frozen.keys()
    merged = decoder.logits(token_ids, decoder.prepare(images()), lengths=lengths)
    torch.testing.assert_close(merged, after, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(merged, before, atol=1e-4)


def test_adapters_travel_without_the_model_and_fit_no_other():
    pytest.importorskip("peft")
    source, other = (add_adapters(language_model("llama"), 4, 4) for _ in range(2))
    with torch.no_grad():
        for value in adapter_state(source).values():
            value.normal_()
    state = {name: value.clone() for name, value in adapter_state(source).items()}
    assert sum(value.numel() for value in state.values()) < 0.2 * sum(p.numel() for p in source.parameters())
    load_adapters(other, state)
    assert all(torch.equal(value, state[name]) for name, value in adapter_state(other).items())
    with pytest.raises(ModelFileError, match="another base model or rank"):
        load_adapters(add_adapters(language_model("llama"), 2, 4), state)
    with pytest.raises(ModelFileError, match="another base model: 0 of"):
        load_adapters(add_adapters(language_model("gpt2"), 4, 4), state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "adapter rank is 0; allowed: 1 or more"),
        ({"alpha": 0}, "adapter alpha is 0; allowed: 1 or more"),
        ({"dropout": 1.0}, r"adapter dropout is 1\.0; allowed: at least 0, below 1"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        add_adapters(language_model("llama"), **settings)


def test_layers_are_unfrozen_from_the_end():
    model = language_model("llama").requires_grad_(False)
    unfreeze_layers(model, 1)
    trained = {name.split(".")[2] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"2"}
    with pytest.raises(ModelFileError, match="unfreeze_layers is 4; allowed: 0 to 3"):
        unfreeze_layers(model, 4)


def test_a_training_step_in_bfloat16_is_close_to_one_in_float32():
    token_ids, lengths = captions()
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        decoder = prefix_model("llama")
        decoder.language_model.to(dtype)
        hidden = read_causally(decoder, decoder.prepare(images()), token_ids, lengths)
        real = torch.arange(8) <= lengths[:, None]
        targets = F.pad(token_ids, (0, 1)).scatter(1, lengths[:, None], EOS)[real]
        losses.append(float(F.cross_entropy(decoder.project(hidden[real]).float(), targets).detach()))
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
