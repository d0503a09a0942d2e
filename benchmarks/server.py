"""Requests a second and latency of `fastcap serve` at 1, 8 and 32 clients, beside LitServe serving the same model in
the same run; every answer is compared with the library's. Then: how soon does an overloaded server say so?

Clients run on the same machine and take their share of it. Pictures are 640x480 JPEGs made of those in a folder. The
loads take turns, since a machine that others use is fast for seconds and slow for seconds.

    python benchmarks/server.py --images data/flickr8k/images   # writes benchmarks/results/server.json
    python benchmarks/server.py --images data/flickr8k/images --requests 100 --json -
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from fastcap.evaluation.machine import git_commit, machine_facts, now
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.cores import usable_cores
from fastcap.runtime.signatures import IMAGE_SUFFIXES

CLIENTS = (1, 8, 32)
ROUNDS = 10  # in which each number of clients has its turn
PICTURES = 100
WARM_UP = 20
BOUNDARY = "benchmark"
PACKAGES = {"fastcap": "enhanced-fastcap", "litserve": "litserve"}
STARTED_WITHIN = 60  # seconds
RESULT = Path(__file__).parent / "results" / "server.json"


class Question(NamedTuple):
    """The body of a request, and the caption that belongs to it."""

    body: bytes
    caption: str


class Answer(NamedTuple):
    """What one request got: HTTP status, seconds, and whether a caption was another picture's."""

    status: int
    seconds: float
    wrong: bool


def questions(folder: Path, captioner: Captioner) -> list[Question]:
    """The pictures of a folder as multipart forms, with what the library says of them."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)[:PICTURES]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'.encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    found = []
    for path in paths:
        file = BytesIO()
        Image.open(path).convert("RGB").resize((640, 480)).save(file, "JPEG", quality=90)
        found.append(Question(head + file.getvalue() + tail, captioner.caption(file.getvalue()).text))
    return found


@contextmanager
def running(command: list[str], path: str) -> Iterator[int]:
    """A server in a process of its own, on the free port that is put behind its command, once it answers at `path`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [*command, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + STARTED_WITHIN
        while not answers_at(port, path):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command} ended or does not answer within {STARTED_WITHIN} s")
            time.sleep(0.1)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # LitServe's own processes outlive it otherwise
        process.wait(20)


def answers_at(port: int, path: str) -> bool:
    """Whether a server says that it is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def first_caption(answer: Any) -> str:
    """Of what `fastcap serve` answers to one picture."""
    return answer["images"][0]["caption"]


def ask(
    port: int, path: str, caption_of: Callable[[Any], str], asked: list[Question], clients: int, requests: int
) -> tuple[list[Answer], float]:
    """Send requests from several clients, each waiting for its answer before the next; also the seconds of it all."""
    turns, answers = itertools.count(), []  # both are atomic in CPython
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while (turn := next(turns)) < requests:
            question = asked[turn % len(asked)]
            started = time.perf_counter()
            connection.request("POST", path, question.body, headers)
            response = connection.getresponse()
            content = response.read()
            seconds = time.perf_counter() - started
            wrong = response.status == 200 and caption_of(json.loads(content)) != question.caption
            answers.append(Answer(response.status, seconds, wrong))
            if response.status == 503:
                time.sleep(0.05)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers, time.perf_counter() - started


def joined(turns: Iterable[tuple[list[Answer], float]]) -> tuple[list[Answer], float]:
    """The answers of several turns, and their seconds, as those of one."""
    answers, seconds = zip(*turns, strict=True)
    return list(itertools.chain(*answers)), sum(seconds)


def summary(answers: list[Answer], seconds: float, clients: int) -> dict[str, Any]:
    """The figures of one load; `lost` counts requests without an answer or with another status than 200."""
    times = [1000 * answer.seconds for answer in answers if answer.status == 200]
    if not times:
        raise SystemExit(f"no request was served; the first got {answers[0]}")
    return {
        "clients": clients,
        "requests": len(answers),
        "requests_per_second": round(len(times) / seconds, 1),
        "p50_ms": round(float(np.percentile(times, 50)), 1),
        "p99_ms": round(float(np.percentile(times, 99)), 1),
        "wrong": sum(answer.wrong for answer in answers),
        "lost": len(answers) - len(times),
    }


def measure(model: str, asked: list[Question], requests: int, workers: int) -> dict[str, Any]:
    """Both servers under the same load, one after the other, then ours overloaded."""
    serve = [sys.executable, "-m", "fastcap", "serve", "--model", model, "--threads", str(workers)]
    litserve = [sys.executable, str(Path(__file__).with_name("litserve_app.py")), model, str(workers)]
    servers: dict[str, Any] = {}
    for name, command, ready, path, caption_of in (
        ("fastcap", [*serve, "--port"], "/readyz", "/v1/caption", first_caption),
        ("litserve", litserve, "/health", "/predict", lambda answer: answer["caption"]),
    ):
        with running(command, ready) as port:
            ask(port, path, caption_of, asked, max(CLIENTS), WARM_UP)
            turns = [
                (clients, ask(port, path, caption_of, asked, clients, requests // ROUNDS))
                for clients in CLIENTS * ROUNDS
            ]
            loads = [summary(*joined(each for who, each in turns if who == clients), clients) for clients in CLIENTS]
            servers[name] = {"version": version(PACKAGES[name]), "loads": loads}
    with running([*serve, "--queue", "8", "--max-images", "8", "--port"], "/readyz") as port:
        answers, _ = ask(port, "/v1/caption", first_caption, asked, max(CLIENTS), requests)
    refused = [1000 * answer.seconds for answer in answers if answer.status == 503]
    return {
        "servers": servers,
        "overload": {
            "clients": max(CLIENTS),
            "queue": 8,
            "refused": len(refused),
            "refused_p50_ms": round(float(np.percentile(refused, 50)), 1) if refused else None,
            "refused_p99_ms": round(float(np.percentile(refused, 99)), 1) if refused else None,
            "wrong": sum(answer.wrong for answer in answers),
            "neither_served_nor_refused": sum(answer.status not in (200, 503) for answer in answers),
        },
    }


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, type=Path, metavar="DIR", help="folder of pictures")
    parser.add_argument("--model", default="fastcap-base", help="%(default)s")
    parser.add_argument(
        "--requests", type=int, default=2000, help=f"for each number of clients, in {ROUNDS} turns (%(default)s)"
    )
    parser.add_argument("--workers", type=int, default=usable_cores(), help="pictures at a time (%(default)s)")
    parser.add_argument("--json", default=str(RESULT), metavar="FILE", help="%(default)s; - prints only")
    args = parser.parse_args()
    if args.requests < ROUNDS:
        parser.error(f"--requests is {args.requests}; at least {ROUNDS} are needed")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no server outlives its measurement
    asked = questions(args.images, Captioner.open(args.model))
    captions = {question.caption for question in asked}
    result = {
        "format": 1,
        "kind": "server",
        "date": now(),
        "commit": git_commit(),
        "command": f"python benchmarks/server.py --requests {args.requests} --workers {args.workers}",
        "machine": machine_facts(),
        "model": args.model,
        "pictures": f"{len(asked)} JPEGs of 640x480, {len(captions)} different captions",
        "workers": args.workers,
        **measure(args.model, asked, args.requests, args.workers),
    }
    one, eight, _ = result["servers"]["fastcap"]["loads"]
    result["p99_at_8_clients_over_p50_at_1"] = round(eight["p99_ms"] / one["p50_ms"], 2)
    result["p99_at_8_clients_over_p99_at_1"] = round(eight["p99_ms"] / one["p99_ms"], 2)
    text = json.dumps(result, indent=1)
    print(text)
    if args.json != "-":
        Path(args.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
