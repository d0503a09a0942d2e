"""What `/` answers: what is here."""

from __future__ import annotations

from html import escape

from starlette.responses import HTMLResponse, JSONResponse, Response

import fastcap

__all__ = ["index", "prefers_html"]

_PATHS = {
    "demo/": "the web page, which captions in the browser",
    "v1/caption": "POST a picture: its caption",
    "v1/score": "POST a picture and texts: how well each fits",
    "v1/ask": "POST a picture and questions: an answer to each, if the model answers",
    "v1/models": "the model, with its measured quality and speed",
    "healthz": "whether the process is alive",
    "readyz": "whether requests are welcome",
    "metrics": "counters and times, for Prometheus",
    "openapi.json": "all of this in OpenAPI",
}
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<main>
<h1>{title}</h1>
<p>Pictures in, captions out: <code>curl -F image=@photo.jpg http://this-server/v1/caption</code></p>
<ul>
{rows}
</ul>
</main>
"""


def index(model: str, has_page: bool, accept: str) -> Response:
    """A small page for browsers, JSON for programs. Its links are relative, so that they hold below any prefix."""
    paths = {path: told for path, told in _PATHS.items() if has_page or path != "demo/"}
    headers = {"Vary": "Accept", "Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff"}
    if not prefers_html(accept):
        facts = {"name": "fastcap", "version": fastcap.__version__, "model": model, "paths": paths}
        return JSONResponse(facts, headers=headers)
    rows = "\n".join(f'<li><a href="{path}">{path}</a>: {escape(told)}' for path, told in paths.items())
    title = escape(f"fastcap {fastcap.__version__}: {model}")
    return HTMLResponse(_PAGE.format(title=title, rows=rows), headers=headers)


def prefers_html(accept: str) -> bool:
    """Whether an Accept header asks for HTML more than for JSON."""
    weights: dict[str, float] = {}
    for part in accept.replace(" ", "").lower().split(","):
        kind, *parameters = part.split(";")
        try:
            weights[kind] = float(next((each[2:] for each in parameters if each.startswith("q=")), 1))
        except ValueError:
            continue
    html, json = (
        next((weights[kind] for kind in (f"{family}/{name}", f"{family}/*") if kind in weights), 0.0)
        for family, name in (("text", "html"), ("application", "json"))
    )
    return html > json
