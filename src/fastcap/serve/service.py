"""The work behind the routes: takes pictures from a body or from the web through the queue to answers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request

from fastcap.errors import ConfigError, ImageError, counted
from fastcap.runtime.answering import Answer, check_answers
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.conversation import Turn, parse_turns
from fastcap.runtime.engine import Encoded
from fastcap.runtime.options import Options
from fastcap.runtime.rows import caption_row
from fastcap.serve.body import Picture, has_body, read_form, read_pictures
from fastcap.serve.fetch import Fetcher, FetchError
from fastcap.serve.limits import MAX_CONVERSATION_BYTES, MAX_TEXTS, Limits
from fastcap.serve.metrics import Metrics
from fastcap.serve.options import Query
from fastcap.serve.schema import Answered, Answers, Captioned, Captions, Failed, Score, Scores
from fastcap.serve.workers import Workers

__all__ = ["Service"]


class Service:
    """One model behind a queue, with its counters. Arguments are those of `create_app`."""

    def __init__(
        self,
        captioner: Captioner,
        limits: Limits,
        threads: int,
        fetch_from: Collection[str],
        usual: Mapping[str, float],
    ) -> None:
        self.captioner, self.limits, self.usual = captioner, limits, usual
        captioner.check_options(Options.from_flat(usual))
        self.workers = Workers(threads, limits.queue)
        self.metrics = Metrics(lambda: self.workers.taken)
        self._fetcher = Fetcher(fetch_from)
        self.fetches = bool(fetch_from)

    async def caption(self, request: Request, query: Query) -> Captions:
        """A row for each picture of a request. Raises HTTPException 422 if none could be captioned."""
        sent = Counter(name for name, _ in request.query_params.multi_items() if name != "url")
        if twice := next((name for name, count in sent.items() if count > 1), ""):
            raise HTTPException(422, f"{twice} is given {sent[twice]} times; allowed is once")
        options = query.options(sent, self.usual)
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
            pictures, given = await read_form(request, self.limits)
            texts = self._with_one_picture(pictures, given, "text")
            scores = await self.workers.run(lambda: self.captioner.score(self._prepared(pictures[0]), texts))
        rows = [Score(text=text, score=round(value, 4)) for text, value in zip(texts, scores, strict=True)]
        return Scores(model=self.captioner.bundle.name, image=pictures[0].name, scores=rows)

    async def ask(self, request: Request) -> Answers:
        """An answer to each question of a request's form."""
        check_answers(self.captioner.bundle)
        with self.workers.places(1):
            names = ("question", "conversation")
            pictures, given = await read_form(request, self.limits, names, MAX_CONVERSATION_BYTES)
            questions = self._with_one_picture(pictures, given, "question")
            history = _read_history(given["conversation"])
            job = lambda: self.captioner.ask(self._prepared(pictures[0]), questions, history=history)  # noqa: E731
            answers = await self.workers.run(job)
        rows = [
            Answered(question=each.question, answer=each.text, confidence=round(each.confidence, 4)) for each in answers
        ]
        milliseconds = round(sum(each.milliseconds for each in answers), 2)
        return Answers(
            model=self.captioner.bundle.name, image=pictures[0].name, answers=rows, milliseconds=milliseconds
        )

    @staticmethod
    def _with_one_picture(pictures: list[Picture], given: dict[str, list[str]], name: str) -> list[str]:
        """The texts of that name in a form that has to have one picture and some of them."""
        texts = given[name]
        if len(pictures) != 1 or not texts:
            got = f"{counted(len(pictures), 'picture')} and {counted(len(texts), name)}"
            raise HTTPException(422, f"{got}; allowed are one file 'image' and 1 to {MAX_TEXTS} texts '{name}'")
        return texts

    async def caption_url(self, url: str, options: Options, max_bytes: int | None = None) -> Captioned | Failed:
        """Fetch a picture and caption it."""
        picture = await self.fetched(url, max_bytes)
        return picture if isinstance(picture, Failed) else await self.caption_picture(picture, options)

    async def fetched(self, url: str, max_bytes: int | None = None) -> Picture | Failed:
        """A picture from the web, by default of at most as many bytes as a body may have."""
        try:
            data = await self._fetcher.fetch(url, self.limits.body_bytes if max_bytes is None else max_bytes)
        except FetchError as error:
            return Failed(image=url, error=str(error))
        return Picture(data, url)

    async def answer(self, picture: Picture, question: str, history: Sequence[Turn] = ()) -> Answer:
        """Answer one question about a picture for which a place was taken. Turns for which the model has no room are
        left out, the first ones first: a chat grows."""
        fitting = newest_fitting(self.captioner, question, history)
        return await self.workers.run(lambda: self.captioner.ask(self._prepared(picture), question, history=fitting))

    async def caption_picture(self, picture: Picture, options: Options) -> Captioned | Failed:
        """Caption a picture for which a place was taken."""
        return await self.workers.run(partial(self._caption_picture, picture, options))

    def _caption_picture(self, picture: Picture, options: Options) -> Captioned | Failed:
        """The work of one thread."""
        started = time.perf_counter()
        try:
            encoded = self._prepared(picture)
        except ImageError as error:
            self.metrics.pictures.labels("failed").inc()
            return Failed(**caption_row(picture.name, error))
        caption = self.captioner.caption(encoded, options)
        seconds = time.perf_counter() - started
        self.metrics.pictures.labels("captioned").inc()
        self.metrics.picture_seconds.observe(seconds)
        caption = replace(caption, milliseconds=1000 * seconds)  # includes decoding the picture
        return Captioned(**caption_row(picture.name, caption, options.candidates))

    def _prepared(self, picture: Picture) -> Encoded:
        """What is kept of the picture, or will be."""
        return self.captioner.prepare(picture, self.limits.pixels)


def newest_fitting(captioner: Captioner, question: str, history: Sequence[Turn]) -> Sequence[Turn]:
    """The newest turns of a history with which the model can read a question."""
    while len(history) >= 2:
        try:
            captioner.check_question(question, history)
        except ConfigError:
            history = history[2:]
        else:
            break
    return history


def _read_history(given: list[str]) -> list[Turn]:
    """The turns before the questions, from at most one part of a form; a browser sends an empty one where nothing was
    written."""
    if len(given) > 1:
        raise HTTPException(422, f"{len(given)} texts 'conversation'; allowed is one")
    return parse_turns(given[0], "conversation") if given and given[0].strip() else []
