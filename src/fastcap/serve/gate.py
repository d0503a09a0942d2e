"""Middleware in front of the application: checks token, size and deadline of every request, and counts requests."""

from __future__ import annotations

import asyncio
import hmac
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fastcap.serve.limits import Limits
from fastcap.serve.metrics import Metrics

__all__ = ["Gate", "problem", "shown"]


def problem(error: HTTPException, scope: Scope) -> JSONResponse:
    """The shape of every error: `{"error": "what was got, and what is allowed"}`, unless the application has others."""
    content = scope["app"].state.shape_of_errors(scope["path"], error)
    return JSONResponse(content, error.status_code, headers=error.headers)


def shown(value: object, most: int = 100) -> str:
    """How an error shows what was sent: errors repeat no body, and no URL as long as one."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _plain(path: str, prefix: str) -> str:
    """A path as the routes spell it. Proxies may send whole URLs, double a slash, or leave their prefix."""
    path = re.sub("/+", "/", re.sub("^https?://[^/]*", "", path, flags=re.I)) or "/"
    if prefix and f"{path}/".startswith(f"{prefix}/"):
        path = path[len(prefix) :] or "/"
    return path if path.startswith("/demo/") else path.rstrip("/") or "/"


class Gate:
    """ASGI middleware.

    `prefix`: as in `create_app`.
    `token`: required as `Authorization: Bearer` on every route; None requires nothing.

    While `scope["app"].state.draining` is true, answers close their connections, so that clients go elsewhere.
    """

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics, token: str | None, prefix: str) -> None:
        self._app, self._limits, self._metrics, self._prefix = app, limits, metrics, prefix
        self._authorization = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        scope["path"] = _plain(scope["path"], self._prefix)
        # Over a slow connection the page's files take longer than a caption may take; they cost no computation.
        seconds = None if scope["path"].startswith("/demo/") else self._limits.seconds

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status, headers = message["status"], MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")  # what a server is and says now
                if scope["app"].state.draining:
                    headers["Connection"] = "close"
            await send(message)

        try:
            self._check(Headers(scope=scope))
            await asyncio.wait_for(self._app(scope, self._bounded(receive), watched_send), seconds)
        except HTTPException as error:
            await problem(error, scope)(scope, receive, watched_send)
        except asyncio.TimeoutError:
            if status:
                raise
            late = HTTPException(504, f"not done within {self._limits.seconds:g} seconds, the longest time allowed")
            await problem(late, scope)(scope, receive, watched_send)
        except Exception:
            status = status or 500
            raise
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, status or 499).inc()  # 499: the client had gone
            self._metrics.request_seconds.labels(route).observe(time.perf_counter() - started)

    def _check(self, headers: Headers) -> None:
        """Refuse a request by its headers, before a byte of the body is read."""
        if self._authorization is not None:
            got = headers.get("authorization", "").encode()
            if not hmac.compare_digest(got, self._authorization):
                message = "a wrong token" if got else "no token; send the header 'Authorization: Bearer TOKEN'"
                raise HTTPException(401, message, headers={"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._limits.body_bytes:
            raise self._too_large(f"{length[:30]} bytes")

    def _bounded(self, receive: Receive) -> Receive:
        """`receive` with the size limit, also for a body that states no length or a wrong one."""
        total = 0

        async def bounded() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self._limits.body_bytes:
                raise self._too_large("more")
            return message

        return bounded

    def _too_large(self, got: str) -> HTTPException:
        return HTTPException(413, f"the body has {got}; at most {self._limits.body_bytes} bytes are allowed")
