"""The routes: what a request looks like, and what comes back."""

# No `from __future__ import annotations`: FastAPI reads the annotations, and the ranges in them are those of the model
# that is served, known only when the application is made.

import asyncio
import re
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, RedirectResponse

import fastcap
from fastcap.errors import ConfigError, FastcapError, ImageError, nearest
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.images import load_image
from fastcap.runtime.options import MAX_BEAMS, RANGES, Sampling
from fastcap.runtime.rows import caption_row
from fastcap.serve.body import Picture, has_body, read_form, read_pictures
from fastcap.serve.fetch import Fetcher, FetchError, is_authority
from fastcap.serve.gate import Gate, problem
from fastcap.serve.limits import MAX_TEXTS, Limits
from fastcap.serve.metrics import Metrics
from fastcap.serve.page import WebPage
from fastcap.serve.schema import (
    PROBLEMS,
    Captioned,
    Captions,
    Failed,
    Model,
    Models,
    Score,
    Scores,
    Status,
    caption_body,
    score_body,
)
from fastcap.serve.workers import Workers

__all__ = ["create_app"]


def create_app(
    captioner: Captioner,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    *,
    threads: int = 1,
    token: str | None = None,
    fetch_from: Collection[str] = (),
    origins: Collection[str] = (),
    page: WebPage | None = None,
) -> FastAPI:
    """The ASGI application around one loaded model.

    `threads`: pictures captioned at the same time; as many as there are cores.
    `token`: demanded on every route; None demands nothing.
    `fetch_from`: hosts that pictures may be fetched from (see `Fetcher`); none turns fetching off.
    `origins`: web origins whose pages may read the answers (CORS).
    `page`: the web page, to be found below `/demo/`; it captions in the browser, with the model that it is given.

    Raises ConfigError for a host or an origin of another form.
    """
    bundle = captioner.bundle
    decoding, size = bundle.decoding, (bundle.preprocessing.width, bundle.preprocessing.height)
    decodes = bundle.decodes
    fetcher = Fetcher(fetch_from)
    workers = Workers(threads, limits.queue)
    metrics = Metrics(lambda: workers.taken)

    def setting(name: str, told: str) -> Any:
        low, high = RANGES[name]
        return Field(getattr(Sampling(), name), ge=low, le=high, description=f"of decode=sample: {told}")

    class SamplingOptions(BaseModel):
        temperature: float = setting("temperature", "below 1 prefers what is likely, above 1 levels")
        top_k: int = setting("top_k", "likeliest tokens that may be drawn, 0 for all")
        top_p: float = setting("top_p", "and of these as many as have this probability together")
        seed: int = setting("seed", "the same one draws the same captions")
        no_repeat: int = setting("no_repeat", "tokens in a row that are never said twice, 0 for no such guard")

    samples = "sample" in decodes  # options that a model has no use for are unknown to its server
    base: Any = SamplingOptions if samples else BaseModel

    class Options(base):
        model_config = ConfigDict(extra="forbid")
        length: (
            Literal["short", "normal", "long"] | Annotated[int, Field(ge=decoding.min_length, le=decoding.max_length)]
        ) = Field("normal", description="length of the caption: a name, or a number of words")
        candidates: int = Field(1, ge=1, le=decoding.max_candidates, description="different wordings to return at most")
        neutral: bool = Field(False, description="say nothing of anybody's gender")
        decode: str = Field(decodes[0], pattern=f"^({'|'.join(decodes)})$", description="all words at once, or in turn")
        beams: int = Field(3, ge=1, le=MAX_BEAMS, description="hypotheses of decode=beam")
        url: list[str] = Field(
            [],
            max_length=limits.images if fetch_from else 0,
            description="pictures to fetch, instead of a body; none where the server fetches nothing",
        )

        def asked(self) -> dict[str, Any]:
            """The options of `Captioner.caption`."""
            drawn = self.model_dump(include=self.model_fields_set & RANGES.keys())
            return self.model_dump(exclude={"url", *RANGES}) | {"sampling": Sampling(**drawn) if drawn else None}

    allowed = {
        "length": f"short, normal, long or a number of words from {decoding.min_length} to {decoding.max_length}",
        "candidates": f"whole numbers from 1 to {decoding.max_candidates}",
        "neutral": "true and false",
        "decode": ", ".join(decodes),
        "beams": f"whole numbers from 1 to {MAX_BEAMS}",
        **({name: f"numbers from {low} to {high}" for name, (low, high) in RANGES.items()} if samples else {}),
        "url": f"at most {limits.images} addresses" if fetch_from else "none, as this server fetches nothing",
    }

    def caption_picture(picture: Picture, options: Options) -> Captioned | Failed:
        """The work of one thread."""
        started = time.perf_counter()
        try:
            pixels = load_image(picture, size, max_pixels=limits.pixels)
        except ImageError as error:
            metrics.pictures.labels("failed").inc()
            return Failed(**caption_row(picture.name, error))
        (caption,) = captioner.caption_pixels(pixels[None], **options.asked())
        seconds = time.perf_counter() - started
        metrics.pictures.labels("captioned").inc()
        metrics.picture_seconds.observe(seconds)
        caption = replace(caption, milliseconds=1000 * seconds)  # decoding the picture included
        return Captioned(**caption_row(picture.name, caption, options.candidates))

    def score_picture(picture: Picture, texts: list[str]) -> list[float]:
        return captioner.score(load_image(picture, size, max_pixels=limits.pixels), texts)

    async def caption_url(url: str, options: Options) -> Captioned | Failed:
        try:
            # The pictures of a request share the room that a body would have.
            data = await fetcher.fetch(url, limits.body_bytes // len(options.url))
        except FetchError as error:
            return Failed(image=url, error=str(error))
        return await workers.run(partial(caption_picture, Picture(data, url), options))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        workers.close()

    # Told to OpenAPI alone; it is the Gate that asks.
    guard: dict[str, Any] = {"dependencies": [Depends(HTTPBearer(auto_error=False))], "responses": {401: PROBLEMS[401]}}
    app = FastAPI(
        title="fastcap",
        version=fastcap.__version__,
        summary="Pictures in, captions out.",
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from another host
        redoc_url=None,
        **({} if token is None else guard),
    )
    app.state.draining = False
    _answer_errors_in_json(app, allowed)
    app.add_middleware(Gate, limits=limits, metrics=metrics, token=token)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[*map(_origin, origins)],
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization"],
        )

    @app.post(
        "/v1/caption",
        response_model=Captions,
        response_model_exclude_none=True,
        responses=PROBLEMS,
        openapi_extra=caption_body(limits.images, required=not fetch_from),
    )
    async def caption(request: Request, options: Annotated[Options, Query()]) -> Captions:
        """Caption one or many pictures. A bad one among good ones is a row with an `error`."""
        asked = options.asked()
        del asked["neutral"]
        captioner.check_options(**asked)
        with workers.places(max(1, len(options.url))):  # taken before the body is read, so that bodies are bounded too
            if options.url:
                if has_body(request):
                    raise HTTPException(422, "both a body and the option url; allowed is one of them")
                work = [caption_url(url, options) for url in options.url]
                rows = await asyncio.gather(*work)
            else:
                pictures = await read_pictures(request, limits)
                with workers.places(len(pictures) - 1):
                    jobs = [partial(caption_picture, picture, options) for picture in pictures]
                    rows = await asyncio.gather(*map(workers.run, jobs))
        errors = [row.error for row in rows if isinstance(row, Failed)]
        if len(errors) == len(rows):
            raise HTTPException(422, "; ".join(errors))
        return Captions(model=bundle.name, images=rows)

    @app.post("/v1/score", responses=PROBLEMS, openapi_extra=score_body())
    async def score(request: Request) -> Scores:
        """Say how well each text fits a picture."""
        with workers.places(1):
            pictures, texts = await read_form(request, limits)
            if len(pictures) != 1 or not texts:
                got = f"{len(pictures)} pictures and {len(texts)} texts"
                raise HTTPException(422, f"{got}; allowed are one file 'image' and 1 to {MAX_TEXTS} texts 'text'")
            scores = await workers.run(partial(score_picture, pictures[0], texts))
        rows = [Score(text=text, score=round(value, 4)) for text, value in zip(texts, scores, strict=True)]
        return Scores(model=bundle.name, image=pictures[0].name, scores=rows)

    @app.get("/v1/models")
    async def models() -> Models:
        """What is served, with the quality and speed that it states about itself."""
        facts = {name: getattr(bundle, name) for name in Model.model_fields}
        return Models(models=[Model(**facts)])

    @app.get("/healthz")
    async def healthz() -> Status:
        """The process is alive."""
        return Status(status="alive")

    @app.get("/readyz", responses={503: PROBLEMS[503]})
    async def readyz() -> Status:
        """Requests are welcome; not once the server was told to stop."""
        if app.state.draining:
            raise HTTPException(503, "stopping; send new requests elsewhere")
        return Status(status="ready")

    @app.get("/metrics", response_class=Response)
    async def show_metrics() -> Response:
        """Counters and times, for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    if page is not None:
        _show(page, app)
    return app


def _origin(text: str) -> str:
    """An origin as browsers send it, or ConfigError."""
    origin = text.lower()
    scheme, _, authority = origin.partition("://")
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) or not is_authority(authority):
        raise ConfigError(f"{text!r} is not an origin; allowed are SCHEME://HOST and SCHEME://HOST:PORT, in ASCII")
    return origin


def _show(page: WebPage, app: FastAPI) -> None:
    """The routes of the page; no part of the API."""

    @app.get("/demo", include_in_schema=False)
    async def demo() -> Response:
        return RedirectResponse("/demo/")

    @app.api_route("/demo/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
    async def demo_file(path: str, request: Request) -> Response:
        status, headers, file = page.answer(path, request.url.query, request.headers.get("if-none-match"))
        if status == 404:
            raise HTTPException(404)
        # From the disk in small parts: a slow reader holds a connection, not megabytes.
        return FileResponse(file, status, headers) if file else Response(status_code=status, headers=headers)


def _answer_errors_in_json(app: FastAPI, allowed: Mapping[str, str]) -> None:
    """Every error in the one shape of `problem`. `allowed` says which values each option takes."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            error.detail = f"{request.url.path}: no such path; allowed are those of /openapi.json"
        if error.status_code == 405:
            error.detail = f"{request.method} {request.url.path}: allowed is {(error.headers or {}).get('Allow')}"
        return problem(error)

    @app.exception_handler(RequestValidationError)
    async def out_of_range(_: Request, error: RequestValidationError) -> Response:
        found = {str(each["loc"][1]): each["input"] for each in error.errors()}
        unknown = [name for name in found if name not in allowed]
        if unknown:
            told = f"unknown option {unknown[0]!r}{nearest(unknown[0], allowed)}; allowed are {', '.join(allowed)}"
        else:
            told = "; ".join(f"{name} is {value!r}; allowed are {allowed[name]}" for name, value in found.items())
        return problem(HTTPException(422, told))

    @app.exception_handler(FastcapError)
    async def failed(_: Request, error: FastcapError) -> Response:
        return problem(HTTPException(422 if isinstance(error, ImageError | ConfigError) else 500, str(error)))

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:
        return problem(HTTPException(500, "a fault of the server; its log says more"))

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=499)  # nobody reads it
