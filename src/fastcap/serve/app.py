"""The routes: what a request looks like, and what comes back."""

# No `from __future__ import annotations`: FastAPI reads the annotations, and the ranges in them are those of the model
# that is served, known only when the application is made.

import re
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Request, Response
from fastapi import Query as InQuery
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, RedirectResponse
from starlette.routing import Match
from starlette.types import Scope

import fastcap
from fastcap.errors import ConfigError, FastcapError, ImageError, listed, nearest
from fastcap.runtime.captioner import Captioner
from fastcap.serve.compat import Refused, compat_router, shape_of_errors
from fastcap.serve.fetch import is_authority
from fastcap.serve.gate import Gate, problem, shown
from fastcap.serve.index import index
from fastcap.serve.limits import Limits
from fastcap.serve.options import allowed_values, query_model
from fastcap.serve.page import WebPage
from fastcap.serve.schema import (
    PROBLEMS,
    Answers,
    Captions,
    Model,
    Models,
    Scores,
    Status,
    ask_body,
    caption_body,
    score_body,
)
from fastcap.serve.service import Service

__all__ = ["create_app"]

_Route = TypeVar("_Route", bound=Callable[..., Any])


def create_app(
    captioner: Captioner,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    *,
    threads: int = 1,
    token: str | None = None,
    fetch_from: Collection[str] = (),
    origins: Collection[str] = (),
    page: WebPage | None = None,
    prefix: str = "",
    compat: bool = False,
    usual: Mapping[str, float] | None = None,
) -> FastAPI:
    """The ASGI application around one loaded model.

    `threads`: pictures captioned at the same time; as many as there are cores.
    `token`: demanded on every route; None demands nothing.
    `fetch_from`: hosts that pictures may be fetched from (see `Fetcher`); none turns fetching off.
    `origins`: web origins whose pages may read the answers (CORS).
    `page`: the web page, served below `/demo/`; it captions in the browser, with the model that it is given.
    `prefix`: the path below which a proxy shows the server, such as `/captions`, whether the proxy strips it or not.

    `compat`: answer Ollama's and OpenAI's chat, too.
    `usual`: options of captions, by name, where a request asks for no other: the `min_confidence` and `hedge` of all.

    Raises ConfigError for a host, an origin or a prefix of another form, and for options that the model does not take.
    """
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", prefix):
        raise ConfigError(f"the prefix is {prefix!r}; allowed are '' and /NAME, /NAME/NAME, without a slash at the end")
    service = Service(captioner, limits, threads, fetch_from, usual or {})

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.workers.close()

    # For OpenAPI alone; the Gate checks the token.
    guard: dict[str, Any] = {"dependencies": [Depends(HTTPBearer(auto_error=False))], "responses": {401: PROBLEMS[401]}}
    app = FastAPI(
        title="fastcap",
        version=fastcap.__version__,
        summary="Pictures in, captions out.",
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from another host
        redoc_url=None,
        redirect_slashes=False,  # the Gate drops them: a redirect would name our host, and lose the prefix of a proxy
        servers=[{"url": prefix}] if prefix else None,
        **({} if token is None else guard),
    )
    app.state.draining = False
    app.state.shape_of_errors = shape_of_errors if compat else lambda _, error: {"error": error.detail}
    app.add_middleware(Gate, limits=limits, metrics=service.metrics, token=token, prefix=prefix)
    if allowed := [_origin(origin) for origin in listed(origins, "origins")]:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=allowed,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization"],
            expose_headers=["Retry-After"],
        )
    max_urls = limits.images if fetch_from else 0
    _answer_errors_in_json(app, allowed_values(captioner.bundle, max_urls))
    if compat:
        app.include_router(compat_router(service))
    _add_captions(app, service, max_urls)
    _add_facts(app, service, has_page=page is not None)
    if page is not None:
        _add_page(app, page)
    return app


def _origin(text: str) -> str:
    """An origin as browsers send it, or ConfigError."""
    origin = text.lower()
    scheme, _, authority = origin.partition("://")
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) or not is_authority(authority):
        raise ConfigError(f"{text!r} is not an origin; allowed are SCHEME://HOST and SCHEME://HOST:PORT, in ASCII")
    return origin


def _add_captions(app: FastAPI, service: Service, max_urls: int) -> None:
    """The routes that run the model."""
    Options = query_model(service.captioner.bundle, max_urls)

    @app.post(
        "/v1/caption",
        response_model=Captions,
        response_model_exclude_none=True,
        responses=PROBLEMS,
        openapi_extra=caption_body(service.limits.images, required=not max_urls),
    )
    async def caption(request: Request, options: Annotated[Options, InQuery()]) -> Captions:  # type: ignore[valid-type]
        """Caption one or many pictures. A bad one among good ones is a row with an `error`."""
        return await service.caption(request, options)

    @app.post("/v1/score", responses=PROBLEMS, openapi_extra=score_body())
    async def score(request: Request) -> Scores:
        """Say how well each text fits a picture."""
        return await service.score(request)

    @app.post("/v1/ask", responses=PROBLEMS, openapi_extra=ask_body())
    async def ask(request: Request) -> Answers:
        """Answer questions about a picture, if the model was trained to."""
        return await service.ask(request)


def _get(app: FastAPI, path: str, **facts: Any) -> Callable[[_Route], _Route]:
    """Add a route of GET that answers HEAD as well, which the description need not say."""

    def add(function: _Route) -> _Route:
        app.head(path, include_in_schema=False)(function)
        return app.get(path, **facts)(function)

    return add


def _add_facts(app: FastAPI, service: Service, has_page: bool) -> None:
    """The routes that tell about the model and the server."""

    @_get(app, "/", include_in_schema=False)
    async def show_index(request: Request) -> Response:
        return index(service.captioner.bundle.name, has_page, request.headers.get("accept", ""))

    @_get(app, "/v1/models")
    async def models() -> Models:
        """What is served, with the quality and speed that it states about itself."""
        facts = {name: getattr(service.captioner.bundle, name) for name in Model.model_fields}
        return Models(models=[Model(**facts)])

    @_get(app, "/healthz")
    async def healthz() -> Status:
        """The process is alive."""
        return Status(status="alive")

    @_get(app, "/readyz", responses={503: PROBLEMS[503]})
    async def readyz() -> Status:
        """Requests are welcome; not once the server was told to stop."""
        if app.state.draining:
            raise HTTPException(503, "stopping; send new requests elsewhere")
        return Status(status="ready")

    @_get(app, "/metrics", response_class=Response)
    async def show_metrics() -> Response:
        """Counters and times, for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_page(app: FastAPI, page: WebPage) -> None:
    """The routes of the web page, which are not part of the API."""

    @_get(app, "/demo", include_in_schema=False)
    async def demo() -> Response:
        return RedirectResponse("demo/")  # relative: a proxy may show us below a prefix

    @_get(app, "/demo/{path:path}", include_in_schema=False)
    async def demo_file(path: str, request: Request) -> Response:
        known, since = ", ".join(request.headers.getlist("if-none-match")), request.headers.get("if-modified-since")
        status, headers, file = page.answer(path, request.scope["query_string"].decode("latin-1"), known, since)
        if status == 404:
            raise HTTPException(404)
        # Read from the disk in small parts: a slow reader holds a connection, not megabytes.
        return FileResponse(file, status, headers) if file else Response(status_code=status, headers=headers)


def _methods(app: FastAPI, scope: Scope) -> list[str]:
    """The methods that the path of a request takes."""
    routes = [route for route in app.routes if route.matches(scope)[0] is not Match.NONE]
    return sorted(set().union(*(getattr(route, "methods", None) or () for route in routes)))


def _answer_errors_in_json(app: FastAPI, allowed: Mapping[str, str]) -> None:
    """Give every error the one shape of `problem`. `allowed`: the values that each option takes."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        path = shown(request.scope["path"]).strip("'\"")  # not request.url, which some Host headers break
        if error.status_code == 404 and not isinstance(error, Refused):
            error.detail = f"{path}: no such path; allowed are those of /openapi.json"
        if error.status_code == 405:
            methods = _methods(app, request.scope)
            error.headers = {"Allow": ", ".join([*methods, "OPTIONS"])}
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=error.headers)
            told = f"are {', '.join(methods)}" if methods[1:] else f"is {methods[0]}"
            error.detail = f"{request.method[:20]} {path}: allowed {told}"
        return problem(error, request.scope)

    @app.exception_handler(RequestValidationError)
    async def out_of_range(request: Request, error: RequestValidationError) -> Response:
        got = {str(each["loc"][1]): each["input"] for each in error.errors()}
        unknown = [name for name in got if name not in allowed]
        if unknown:
            told = f"unknown option {shown(unknown[0])}{nearest(unknown[0], allowed)}; allowed are {', '.join(allowed)}"
        else:
            told = "; ".join(f"{name} is {shown(value)}; allowed are {allowed[name]}" for name, value in got.items())
        return problem(HTTPException(422, told), request.scope)

    @app.exception_handler(FastcapError)
    async def failed(request: Request, error: FastcapError) -> Response:
        status = 422 if isinstance(error, ImageError | ConfigError) else 500
        return problem(HTTPException(status, str(error)), request.scope)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return problem(HTTPException(500, "a fault of the server; its log says more"), request.scope)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=499)  # nobody reads it
