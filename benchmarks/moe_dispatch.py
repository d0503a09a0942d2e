"""Experts for tokens: one vectorised dispatch against nested loops over tokens and experts, as JSON.

`python benchmarks/moe_dispatch.py [--experts 8] [--tokens 512]`
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.layers import FeedForward


def milliseconds(run: Callable[[], Tensor], repeats: int) -> float:
    """Median time of a forward and a backward pass, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run().square().sum().backward()
        times.append(1e3 * (time.perf_counter() - start))
    return median(times[1:])


def main() -> None:
    """Time both on the same tokens, compare their answers, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", type=int, default=8, help="%(default)s")
    parser.add_argument("--top-k", type=int, default=2, help="experts of a token (%(default)s)")
    parser.add_argument("--tokens", type=int, default=512, help="%(default)s")
    parser.add_argument("--d-model", type=int, default=256, help="%(default)s")
    parser.add_argument("--d-hidden", type=int, default=256, help="width inside an expert (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="%(default)s")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    experts = FeedForward(args.d_model, args.d_hidden, args.experts)
    x = torch.randn(args.tokens, args.d_model)
    probabilities = torch.rand(args.tokens, args.experts).softmax(dim=-1)
    chosen = probabilities.topk(args.top_k).indices
    weights = probabilities.gather(1, chosen)

    def dispatch() -> Tensor:
        return experts.dispatch(x, chosen, weights)

    def loops() -> Tensor:
        return experts.forward_reference(x[:, None], chosen, weights)[:, 0]

    with torch.no_grad():
        difference = float((dispatch() - loops()).abs().max())
    fast, slow = milliseconds(dispatch, args.repeats), milliseconds(loops, args.repeats)
    result = {
        "format": 1,
        "kind": "moe_dispatch",
        "date": now(),
        "commit": git_commit(),
        "machine": machine_facts(),
        "threads": 1,
        **{name: getattr(args, name) for name in ("experts", "top_k", "tokens", "d_model", "d_hidden")},
        "dispatch_ms": round(fast, 2),
        "nested_loops_ms": round(slow, 2),
        "speedup": round(slow / fast, 1),
        "largest_difference": difference,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
