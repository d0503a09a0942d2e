"""The captioner as a Gradio page that contacts no other host: no analytics, no fonts from elsewhere, no sharing."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import FastAPI, Request, Response

from fastcap.errors import FastcapError, ImageError, counted
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.images import load_image
from fastcap.runtime.options import Options, Setting, settings
from fastcap.runtime.rows import caption_row
from fastcap.runtime.silence import why_silent
from fastcap.serve.body import Picture
from fastcap.serve.limits import MAX_TEXT_BYTES, MAX_TEXTS, Limits

# Gradio reports usage data unless these are set when it is imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr

if TYPE_CHECKING:
    Gallery = list[tuple[str, str | None]] | None  # (path of the upload, what was written below it)
    Table = list[list[str | float]]

__all__ = ["create_app"]

_KEPT_SECONDS = 3600  # that an upload stays in Gradio's temporary folder
_NO_FIELDS = "sample"  # a way of decoding whose settings the page has no fields for
# Whatever Gradio's scripts ask for, the browser lets them talk to this server alone.
_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"


def create_app(
    captioner: Captioner,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    *,
    threads: int = 1,
    prefix: str = "",
) -> FastAPI:
    """The page around one loaded model, as an ASGI application; its API has the endpoints /caption and /score.

    `limits`: of one click: its pictures and their pixels, the bytes of one picture, and how many clicks may wait.
    `threads`: clicks that are answered at the same time.
    `prefix`: the path below which a proxy shows the page, and which it strips, such as `/captions`.

    Uploads lie in the folder that GRADIO_TEMP_DIR names, for up to two hours.
    """
    clicks = _Clicks(captioner, limits)
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
                options = {name: _component(name, each, captioner.bundle) for name, each in settings(Options).items()}
                caption_button = gr.Button("Caption", variant="primary")
            with gr.Column():
                captioned = gr.Gallery(label="Captions", interactive=False)
                captions = _table("picture", "caption", "confidence")
                texts = gr.Textbox(label="Your own texts, one a line", lines=3)
                score_button = gr.Button("Score")
                scores = _table("picture", "text", "score")

        def caption(gallery: Gallery, *values: Any) -> tuple[list[tuple[str, str]], Table]:
            return clicks.caption(gallery, Options(**dict(map(_option, options, values))))

        # Gradio names the parameters of its API after those of the function.
        parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("gallery", *options)]
        caption.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        caption_button.click(caption, [pictures, *options.values()], [captioned, captions], api_name="caption")
        score_button.click(clicks.score, [pictures, texts], scores, api_name="score")
    page.queue(default_concurrency_limit=threads, max_size=limits.queue)
    return _mounted(page, limits, prefix)


def _table(*headers: str) -> gr.Dataframe:
    return gr.Dataframe(headers=list(headers), datatype=["str", "str", "number"], interactive=False)


def _component(name: str, setting: Setting, bundle: Bundle) -> Any:
    """The form field of one option."""
    texts, numbers = [text for text in setting.texts(bundle) if text != _NO_FIELDS], setting.range(bundle)
    facts: dict[str, Any] = {"label": name.capitalize(), "info": setting.told}
    if isinstance(setting.default, bool):
        return gr.Checkbox(setting.default, **facts)
    if texts and numbers:
        facts["info"] += f" from {numbers[0]} to {numbers[1]}"
        return gr.Dropdown(texts, value=setting.default, allow_custom_value=True, **facts)
    if texts:
        return gr.Radio(texts, value=setting.default or texts[0], **facts)
    if numbers:
        step = 1 if isinstance(setting.default, int) else None
        return gr.Slider(*numbers, setting.default, step=step, **facts)
    return gr.Textbox(setting.default, **facts)


def _option(name: str, value: Any) -> tuple[str, Any]:
    """An option as `Options` takes it: a drop-down's number arrives as a text, a slider's may arrive as a float."""
    setting = settings(Options)[name]
    if setting.names and setting.between:
        return name, int(value) if str(value).isdecimal() else value
    return name, type(setting.default)(value) if setting.between else value


class _Clicks:
    """What the buttons do, for pictures of the page's gallery. A FastcapError is shown on the page."""

    def __init__(self, captioner: Captioner, limits: Limits) -> None:
        self._captioner, self._limits = captioner, limits

    def caption(self, gallery: Gallery, options: Options) -> tuple[list[tuple[str, str]], Table]:
        """The gallery with captions below its pictures, and a table of all wordings."""
        shown: list[tuple[str, str]] = []
        table: Table = []
        for path, picture in _pictures(gallery, self._limits):
            try:
                (caption,) = self._captioner.caption_pixels(self._pixels(picture), options)
            except ImageError as error:
                row = caption_row(picture.name, error)
                shown.append((path, row["error"]))
                table.append([picture.name, row["error"], 0.0])
            except FastcapError as error:
                raise gr.Error(str(error), print_exception=False) from None
            else:
                shown.append((path, caption.text or why_silent(caption, options)))
                wordings = caption.candidates or (caption,)  # of which the text is empty
                table += [[picture.name, each.text, round(each.confidence, 4)] for each in wordings]
        return shown, table

    def score(self, gallery: Gallery, texts: str) -> Table:
        """A table of scores: each line of `texts` with each picture."""
        lines = [line.strip() for line in texts.splitlines() if line.strip()]
        if not lines or len(lines) > MAX_TEXTS or any(len(line.encode()) > MAX_TEXT_BYTES for line in lines):
            raise gr.Error(
                f"{counted(len(lines), 'text')}; allowed are 1 to {MAX_TEXTS}, one a line, of at most "
                f"{MAX_TEXT_BYTES} bytes",
                print_exception=False,
            )
        table: Table = []
        for _, picture in _pictures(gallery, self._limits):
            try:
                scores = self._captioner.score(self._pixels(picture)[0], lines)
            except FastcapError as error:
                raise gr.Error(str(error), print_exception=False) from None
            table += [[picture.name, line, round(value, 4)] for line, value in zip(lines, scores, strict=True)]
        return table

    def _pixels(self, picture: Picture) -> np.ndarray:
        """(1,H,W,3) uint8 at the model's size."""
        size = self._captioner.bundle.preprocessing
        return load_image(picture, (size.width, size.height), max_pixels=self._limits.pixels)[None]


def _pictures(gallery: Gallery, limits: Limits) -> list[tuple[str, Picture]]:
    """The uploads and their bytes. Raises the error that the page shows if there are none, or too many."""
    paths = [path for path, _ in gallery or []]
    if not 1 <= len(paths) <= limits.images:
        raise gr.Error(f"{counted(len(paths), 'picture')}; allowed are 1 to {limits.images}", print_exception=False)
    return [(path, Picture(Path(path).read_bytes(), os.path.basename(path))) for path in paths]


def _mounted(page: gr.Blocks, limits: Limits, prefix: str) -> FastAPI:
    app = FastAPI(title="fastcap", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.draining = False

    @app.middleware("http")
    async def add_policy(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await answer(request)
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return gr.mount_gradio_app(
        app,
        page,
        path="",
        root_path=prefix or None,
        theme=theme,
        max_file_size=limits.body_bytes,
        footer_links=["api"],
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        run_history=False,
    )
