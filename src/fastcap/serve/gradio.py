"""The captioner as a Gradio page. It asks nobody for anything: no analytics, no fonts from elsewhere, no sharing."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response

from fastcap.errors import FastcapError, ImageError
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.images import load_image
from fastcap.runtime.options import MAX_BEAMS
from fastcap.runtime.rows import caption_row
from fastcap.serve.body import Picture
from fastcap.serve.limits import MAX_TEXT_BYTES, MAX_TEXTS, Limits

# Gradio reports its use unless it finds these when it is imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr

if TYPE_CHECKING:
    Gallery = list[tuple[str, str | None]] | None  # (path of the upload, what was written below it)

__all__ = ["create_app"]

_KEPT_SECONDS = 3600  # for so long an upload lies in Gradio's temporary folder
# Whatever Gradio's scripts may want: a browser lets them speak to this server alone.
_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"


def create_app(
    captioner: Captioner,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    *,
    threads: int = 1,
) -> FastAPI:
    """The page around one loaded model, as an ASGI application; its API has the endpoints /caption and /score.

    `limits`: of one click: its pictures and their pixels, the bytes of one picture, and how many clicks may wait.
    `threads`: clicks that are answered at the same time.

    Uploads lie in the folder that GRADIO_TEMP_DIR names, up to two hours.
    """
    decoding, size = (
        captioner.bundle.decoding,
        (captioner.bundle.preprocessing.width, captioner.bundle.preprocessing.height),
    )
    decodes = [each for each in captioner.bundle.decodes if each != "sample"]  # whose settings have no fields here

    def load(picture: Picture) -> Any:
        return load_image(picture, size, max_pixels=limits.pixels)

    def caption(
        gallery: Gallery, length: str, candidates: int, neutral: bool, decode: str, beams: int
    ) -> tuple[list[tuple[str, str]], list[list[str | float]]]:
        options: dict[str, Any] = {
            "length": int(length) if str(length).isdecimal() else length,
            "candidates": int(candidates),
            "neutral": neutral,
            "decode": decode,
            "beams": int(beams),
        }
        shown, table = [], []
        for path, picture in _pictures(gallery, limits):
            try:
                result = captioner.caption_pixels(load(picture)[None], **options)[0]
            except ImageError as error:
                row = caption_row(picture.name, error)
                shown.append((path, row["error"]))
                table.append([picture.name, row["error"], 0.0])
            except FastcapError as error:
                raise gr.Error(str(error), print_exception=False) from None
            else:
                shown.append((path, result.text))
                table += [[picture.name, each.text, round(each.confidence, 4)] for each in result.candidates]
        return shown, table

    def score(gallery: Gallery, texts: str) -> list[list[str | float]]:
        lines = [line.strip() for line in texts.splitlines() if line.strip()]
        if not lines or len(lines) > MAX_TEXTS or any(len(line.encode()) > MAX_TEXT_BYTES for line in lines):
            raise gr.Error(
                f"{len(lines)} texts; allowed are 1 to {MAX_TEXTS}, one a line, of at most {MAX_TEXT_BYTES} bytes",
                print_exception=False,
            )
        table: list[list[str | float]] = []
        for _, picture in _pictures(gallery, limits):
            try:
                scores = captioner.score(load(picture), lines)
            except FastcapError as error:
                raise gr.Error(str(error), print_exception=False) from None
            table += [[picture.name, *each] for each in zip(lines, (round(value, 4) for value in scores), strict=True)]
        return table

    with gr.Blocks(title="fastcap", analytics_enabled=False, delete_cache=(_KEPT_SECONDS, _KEPT_SECONDS)) as page:
        gr.Markdown(f"# fastcap\nPictures in, captions out, on this machine: {captioner.bundle.name}.")
        with gr.Row():
            with gr.Column():
                pictures = gr.Gallery(
                    label=f"Pictures, at most {limits.images}",
                    sources=["upload", "webcam", "clipboard"],
                    file_types=["image"],
                    type="filepath",
                    interactive=True,
                )
                length = gr.Dropdown(
                    list(decoding.lengths),
                    value="normal",
                    allow_custom_value=True,
                    label=f"Length: a name, or a number of words from {decoding.min_length} to {decoding.max_length}",
                )
                candidates = gr.Slider(1, decoding.max_candidates, 1, step=1, label="Different wordings")
                neutral = gr.Checkbox(label="Say nothing of anybody's gender")
                decode = gr.Radio(decodes, value=decodes[0], label="Decode all words at once, or one after another")
                beams = gr.Slider(1, MAX_BEAMS, 3, step=1, label="Hypotheses of beam search")
                caption_button = gr.Button("Caption", variant="primary")
            with gr.Column():
                captioned = gr.Gallery(label="Captions", interactive=False)
                captions = gr.Dataframe(
                    headers=["picture", "caption", "confidence"], datatype=["str", "str", "number"], interactive=False
                )
                texts = gr.Textbox(label="Your own texts, one a line", lines=3)
                score_button = gr.Button("Score")
                scores = gr.Dataframe(
                    headers=["picture", "text", "score"], datatype=["str", "str", "number"], interactive=False
                )
        chosen = [pictures, length, candidates, neutral, decode, beams]
        caption_button.click(caption, chosen, [captioned, captions], api_name="caption")
        score_button.click(score, [pictures, texts], scores, api_name="score")
    page.queue(default_concurrency_limit=threads, max_size=limits.queue)
    return _mounted(page, limits)


def _pictures(gallery: Gallery, limits: Limits) -> list[tuple[str, Picture]]:
    """The uploads and their bytes. Raises the error that the page shows if there are none, or too many."""
    paths = [path for path, _ in gallery or []]
    if not 1 <= len(paths) <= limits.images:
        raise gr.Error(f"{len(paths)} pictures; allowed are 1 to {limits.images}", print_exception=False)
    return [(path, Picture(Path(path).read_bytes(), os.path.basename(path))) for path in paths]


def _mounted(page: gr.Blocks, limits: Limits) -> FastAPI:
    app = FastAPI(title="fastcap", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.draining = False

    @app.middleware("http")
    async def keep_to_ourselves(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await answer(request)
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return gr.mount_gradio_app(
        app,
        page,
        path="",
        theme=theme,
        max_file_size=limits.body_bytes,
        footer_links=["api"],
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        run_history=False,
    )
