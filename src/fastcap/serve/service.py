"""The work behind the routes: takes pictures from a body or from the web through the queue to answers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from functools import partial

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import Request

from fastcap.errors import ImageError, counted
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.images import load_image
from fastcap.runtime.options import Options
from fastcap.runtime.rows import caption_row
from fastcap.serve.body import Picture, has_body, read_form, read_pictures
from fastcap.serve.fetch import Fetcher, FetchError
from fastcap.serve.limits import MAX_TEXTS, Limits
from fastcap.serve.metrics import Metrics
from fastcap.serve.options import Query
from fastcap.serve.schema import Captioned, Captions, Failed, Score, Scores
from fastcap.serve.workers import Workers

__all__ = ["Service"]


class Service:
    """One model behind a queue, with its counters. Arguments are those of `create_app`."""

    def __init__(self, captioner: Captioner, limits: Limits, threads: int, fetch_from: Collection[str]) -> None:
        self.captioner, self.limits = captioner, limits
        self.workers = Workers(threads, limits.queue)
        self.metrics = Metrics(lambda: self.workers.taken)
        self._fetcher = Fetcher(fetch_from)
        self.fetches = bool(fetch_from)

    async def caption(self, request: Request, query: Query) -> Captions:
        """A row for each picture of a request. Raises HTTPException 422 if none could be captioned."""
        sent = Counter(name for name, _ in request.query_params.multi_items() if name != "url")
        if twice := next((name for name, count in sent.items() if count > 1), ""):
            raise HTTPException(422, f"{twice} is given {sent[twice]} times; allowed is once")
        options = query.options(sent)
        self.captioner.check_options(options)
        with self.workers.places(max(1, len(query.url))):  # taken before the body is read, to bound bodies as well
            if query.url:
                if has_body(request):
                    raise HTTPException(422, "both a body and the option url; allowed is one of them")
                # The pictures of a request share the room that a body would have.
                max_bytes = self.limits.body_bytes // len(query.url)
                rows = await asyncio.gather(*(self.caption_url(url, options, max_bytes) for url in query.url))
            else:
                pictures = await read_pictures(request, self.limits)
                with self.workers.places(len(pictures) - 1):
                    jobs = [partial(self._caption_picture, picture, options) for picture in pictures]
                    rows = await asyncio.gather(*map(self.workers.run, jobs))
        errors = [row.error for row in rows if isinstance(row, Failed)]
        if len(errors) == len(rows):
            raise HTTPException(422, "; ".join(errors))
        return Captions(model=self.captioner.bundle.name, images=rows)

    async def score(self, request: Request) -> Scores:
        """A score for each text of a request's form."""
        with self.workers.places(1):
            pictures, texts = await read_form(request, self.limits)
            if len(pictures) != 1 or not texts:
                got = f"{counted(len(pictures), 'picture')} and {counted(len(texts), 'text')}"
                raise HTTPException(422, f"{got}; allowed are one file 'image' and 1 to {MAX_TEXTS} texts 'text'")
            scores = await self.workers.run(lambda: self.captioner.score(self._pixels(pictures[0]), texts))
        rows = [Score(text=text, score=round(value, 4)) for text, value in zip(texts, scores, strict=True)]
        return Scores(model=self.captioner.bundle.name, image=pictures[0].name, scores=rows)

    async def caption_url(self, url: str, options: Options, max_bytes: int | None = None) -> Captioned | Failed:
        """Fetch a picture, by default of at most as many bytes as a body may have, and caption it."""
        try:
            data = await self._fetcher.fetch(url, self.limits.body_bytes if max_bytes is None else max_bytes)
        except FetchError as error:
            return Failed(image=url, error=str(error))
        return await self.caption_picture(Picture(data, url), options)

    async def caption_picture(self, picture: Picture, options: Options) -> Captioned | Failed:
        """Caption a picture for which a place was taken."""
        return await self.workers.run(partial(self._caption_picture, picture, options))

    def _caption_picture(self, picture: Picture, options: Options) -> Captioned | Failed:
        """The work of one thread."""
        started = time.perf_counter()
        try:
            pixels = self._pixels(picture)
        except ImageError as error:
            self.metrics.pictures.labels("failed").inc()
            return Failed(**caption_row(picture.name, error))
        (caption,) = self.captioner.caption_pixels(pixels[None], options)
        seconds = time.perf_counter() - started
        self.metrics.pictures.labels("captioned").inc()
        self.metrics.picture_seconds.observe(seconds)
        caption = replace(caption, milliseconds=1000 * seconds)  # includes decoding the picture
        return Captioned(**caption_row(picture.name, caption, options.candidates))

    def _pixels(self, picture: Picture) -> np.ndarray:
        """(H,W,3) uint8 at the model's size."""
        size = self.captioner.bundle.preprocessing
        return load_image(picture, (size.width, size.height), max_pixels=self.limits.pixels)
