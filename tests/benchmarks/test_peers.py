"""The peers are the public architectures: their sizes are the published ones."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from fastcap.errors import FastcapError  # noqa: E402
from fastcap.evaluation import peers  # noqa: E402

PUBLISHED_MILLIONS = {"distilvit-old": 182, "distilvit-new": 221, "vit-gpt2": 239, "blip-base": 224}


@pytest.mark.parametrize(("name", "millions"), PUBLISHED_MILLIONS.items())
def test_a_peer_has_as_many_parameters_as_the_published_model(name: str, millions: int) -> None:
    with torch.device("meta"):  # shapes without memory
        model, _ = peers.PEERS[name].build()
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=1)


def test_every_peer_is_compared() -> None:
    assert peers.PEERS.keys() == PUBLISHED_MILLIONS.keys()


def _network(n_new: int) -> peers.Peer:
    layer = torch.nn.Linear(2, 3)
    return peers.Peer("one layer", 8, lambda: (layer, lambda pixels: torch.zeros(len(pixels), n_new)))


def test_a_peer_that_makes_another_number_of_tokens_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.PEERS, "short", _network(peers.NEW_TOKENS - 1))
    with pytest.raises(FastcapError, match="short generated 11 tokens"):
        peers.measure_peer("short", repeats=1)


def test_size_is_counted_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.PEERS, "small", _network(peers.NEW_TOKENS))
    row = peers.measure_peer("small", repeats=2)
    assert (row["repeats"], row["threads"], row["new_tokens"]) == (2, 1, 12)
    assert row["fp32_mb"] == pytest.approx(9 * 4 / 1e6, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED_MILLIONS)
def test_a_peer_runs_in_its_own_process(name: str) -> None:
    (row,) = peers.measure_peers([name], repeats=1)
    assert row["name"] == name
    assert row["new_tokens"] == peers.NEW_TOKENS
    assert row["p50_ms"] > 100  # hundreds of millions of parameters cannot be read faster
    assert row["peak_memory_mb"] > row["fp32_mb"]
