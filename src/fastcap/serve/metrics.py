"""The counters and histograms of `/metrics`, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

__all__ = ["Metrics"]

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """The series of one server, in a registry of its own. `taken`: returns the number of places taken in the queue."""

    def __init__(self, taken: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("fastcap_requests", "Answers", ["route", "status"], registry=self.registry)
        self.request_seconds = Histogram(
            "fastcap_request_seconds", "First byte to answer", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self.pictures = Counter("fastcap_pictures", "Pictures by outcome", ["outcome"], registry=self.registry)
        self.picture_seconds = Histogram(
            "fastcap_picture_seconds", "Bytes to text, without waiting", buckets=_SECONDS, registry=self.registry
        )
        queue = Gauge("fastcap_queue_taken", "Pictures under way or waiting", registry=self.registry)
        queue.set_function(taken)
        ProcessCollector(registry=self.registry)

    def text(self) -> bytes:
        """The exposition, as `Content-Type: text/plain; version=0.0.4`."""
        return generate_latest(self.registry)
