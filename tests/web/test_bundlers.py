"""The npm package in other people's builds: what bundlers make of it captions, and TypeScript knows all of it.

`make test-web` fetches the bundlers and the compiler; without them these tests skip and say so.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from visiting import WEB

import fastcap

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TOOLS = Path(__file__).parent / "vendor" / "node_modules"
FILES = ["ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm.gz", "ort.wasm.min.mjs"]
PACKAGE = json.loads((WEB / "package.json").read_text("utf-8"))
TYPES = (WEB / "fastcap.d.ts").read_text("utf-8")
BLUE = "{ data: new Uint8Array(4 * 60 * 40).map((_, at) => (at % 4 < 2 ? 0 : 255)), width: 60, height: 40 }"
PROGRAM = f"""
import {{ load }} from 'fastcap';
load('/model'OPTIONS)
  .then((captioner) => captioner.caption({BLUE}))
  .then(([caption]) => {{ document.title = caption.text; }})
  .catch((error) => {{ document.title = `${{error.name}}: ${{error.message}}`; }});
"""
PAGE = '<!doctype html><title></title><script type="module" src="SOURCE"></script>'


def tool(name: str) -> Path:
    if shutil.which("node") is None:
        pytest.skip("no Node.js; install your system's, for example: apt-get install nodejs")
    if not (TOOLS / name).is_dir():
        pytest.skip(f"no {TOOLS / name}; run `make test-web`")
    return TOOLS / name


def node(folder: Path, *line: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["node", *map(str, line)], cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as npm installs it."""
    if shutil.which("npm") is None:
        pytest.skip("no npm; install your system's, for example: apt-get install npm")
    if not (WEB / "vendor").is_dir():
        pytest.skip(f"no ONNX Runtime Web in {WEB / 'vendor'}; run `make web`")
    folder = tmp_path_factory.mktemp("package")
    line = ["npm", "pack", WEB, "--silent", "--ignore-scripts", "--pack-destination", folder]
    subprocess.run(line, cwd=folder, check=True, capture_output=True)
    (packed,) = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"


@pytest.fixture
def application(package: Path, tmp_path: Path) -> Path:
    """A folder in which somebody writes an application."""
    shutil.copytree(package, tmp_path / "node_modules" / "fastcap")
    (tmp_path / "package.json").write_text('{"name": "app", "private": true, "type": "module"}')
    (tmp_path / "main.js").write_text(PROGRAM.replace("OPTIONS", ""))
    (tmp_path / "index.html").write_text(PAGE.replace("SOURCE", "/main.js"))
    return tmp_path


# The package


def test_it_holds_all_that_it_imports_and_its_types(package):
    held = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    assert {f"vendor/{name}" for name in FILES} | {"fastcap.js", "fastcap.d.ts", "package.json"} <= held
    for name in filter(re.compile(r"[a-z]+\.js").fullmatch, held):
        for imported in re.findall(r"from '\./(.*?)'", (package / name).read_text("utf-8")):
            assert imported in held


def test_its_version_is_that_of_the_python_package():
    assert PACKAGE["version"] == fastcap.__version__


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            "import('fastcap').then((m) => Object.keys(m).sort().join())",
            "Captioner,ConfigError,ImageError,ModelFileError,load",
        ),
        ("import('fastcap/vendor/ort.wasm.min.mjs').then((m) => typeof m.InferenceSession.create)", "function"),
        ("import('fastcap/package.json', { with: { type: 'json' } }).then((m) => m.default.name)", "fastcap"),
        ("Promise.resolve(import.meta.resolve('fastcap').split('/').pop())", "fastcap.js"),
        *((f"Promise.resolve(import.meta.resolve('fastcap/vendor/{name}').split('/').pop())", name) for name in FILES),
        ("import('fastcap/search.js').catch((e) => e.code)", "ERR_PACKAGE_PATH_NOT_EXPORTED"),
    ],
)  # fmt: skip
def test_node_finds_what_is_exported(code, expected, application):
    tool("")
    (application / "t.mjs").write_text(f"console.log(await ({code}));")
    done = node(application, "--no-warnings", "t.mjs")
    assert done.stdout.strip() == expected, done.stderr


# Bundlers


def vite(app: Path, *options: str) -> Path:
    done = node(app, tool("vite") / "bin" / "vite.js", "build", *options)
    assert done.returncode == 0, done.stderr
    assert "exist at build" not in done.stdout + done.stderr
    return app / "dist"


def webpack(app: Path) -> Path:
    settings = "{ mode: 'production', entry: './main.js', output: { publicPath: 'auto' } }"
    (app / "build.mjs").write_text(
        f"import webpack from {json.dumps(str(tool('webpack') / 'lib' / 'index.js'))};\n"
        f"webpack({settings}, (error, stats) => {{ console.error(error ?? stats.toString('errors-warnings')); "
        "process.exitCode = error || stats.hasErrors() ? 1 : 0; });"
    )
    done = node(app, "build.mjs")
    assert done.returncode == 0, done.stderr
    (app / "dist" / "index.html").write_text(PAGE.replace("SOURCE", "/main.js"))
    return app / "dist"


def copied(app: Path, to: str = "vendor") -> None:
    """What docs/web.md says of bundlers that leave addresses as they are."""
    shutil.copytree(app / "node_modules" / "fastcap" / "vendor", app / "dist" / to)
    (app / "dist" / "index.html").write_text(PAGE.replace("SOURCE", "/main.js"))


def esbuild(app: Path, *options: str) -> Path:
    line = (tool("esbuild") / "bin" / "esbuild", "main.js", "--bundle", "--minify", "--outdir=dist", *options)
    done = subprocess.run(line, cwd=app, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return app / "dist"


def esbuild_modules(app: Path) -> Path:
    esbuild(app, "--format=esm")
    copied(app)
    return app / "dist"


def esbuild_script(app: Path) -> Path:
    """A plain script knows no address of its own."""
    (app / "main.js").write_text(PROGRAM.replace("OPTIONS", ", { vendor: '/runtime' }"))
    esbuild(app, "--format=iife", "--log-override:empty-import-meta=silent")
    copied(app, "runtime")
    return app / "dist"


def rollup(app: Path) -> Path:
    program = (app / "main.js").read_text().replace("'fastcap'", "'./node_modules/fastcap/fastcap.js'")
    (app / "main.js").write_text(program)
    done = node(app, tool("rollup") / "dist" / "bin" / "rollup", "main.js", "--dir", "dist", "--format", "es")
    assert done.returncode == 0, done.stderr
    copied(app)
    return app / "dist"


BUNDLERS: dict[str, Callable[[Path], Path]] = {
    "vite": vite,
    "vite, relative": lambda app: vite(app, "--base", "./"),
    "webpack": webpack,
    "esbuild, a module": esbuild_modules,
    "esbuild, a script": esbuild_script,
    "rollup": rollup,
}


class _Site(SimpleHTTPRequestHandler):
    """A folder, and the model below /model/."""

    model: Path

    def translate_path(self, path: str) -> str:
        if path.startswith("/model/"):
            return str(self.model / path.removeprefix("/model/").partition("?")[0])
        return super().translate_path(path)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def visit(browser: Browser, tiny_bundle: Path) -> Iterator[Callable[[str | Path], str]]:
    """The title that a page gives itself: the page at an address, or of a folder that is served."""
    servers = []

    def visited(site: str | Path) -> str:
        if isinstance(site, Path):
            handler = partial(type("Site", (_Site,), {"model": tiny_bundle}), directory=str(site))
            servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
            site = f"http://127.0.0.1:{servers[-1].server_address[1]}/"
        page = browser.new_page()
        page.goto(site)
        page.wait_for_function("document.title", timeout=120_000)
        title = page.title()
        page.close()
        return title

    yield visited
    for server in servers:
        server.shutdown()


@pytest.mark.parametrize("bundler", ["vite", "vite, relative", "webpack"])
def test_a_bundler_takes_the_runtime_along(bundler, application):
    dist = BUNDLERS[bundler](application)
    sizes = sorted(path.stat().st_size for path in dist.rglob("*") if path.suffix in (".mjs", ".gz"))
    expected = sorted((WEB / "vendor" / name).stat().st_size for name in FILES)
    assert sizes == pytest.approx(expected, rel=0.05)  # webpack makes its modules a little smaller


@pytest.mark.slow
@pytest.mark.parametrize("bundler", BUNDLERS)
def test_what_a_bundler_makes_captions(bundler, application, visit, tiny_bundle):
    assert visit(BUNDLERS[bundler](application)) == expected(tiny_bundle)


@pytest.mark.slow
def test_vites_server_for_developers_captions(application, visit, tiny_bundle):
    """It moves the module, but not what lies beside it, into a folder of its own."""
    shutil.copytree(tiny_bundle, application / "public" / "model")
    line = ["node", tool("vite") / "bin" / "vite.js", "--host", "127.0.0.1", "--port", "0"]
    server = subprocess.Popen(line, cwd=application, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        url = next(found[0] for line in server.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+/", plain(line))))
        assert visit(url) == expected(tiny_bundle)
    finally:
        server.kill()
        server.wait()


def plain(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


def expected(model: Path) -> str:
    import numpy as np

    return fastcap.load_model(model).caption(np.full((40, 60, 3), (0, 0, 255), np.uint8)).text


# Types

EXAMPLE = """
import { Captioner, ConfigError, ImageError, ModelFileError, load } from 'fastcap';
import type {
  Address, Answer, AskOptions, Candidate, Caption, CaptionOptions, Decode, Encoded, LoadOptions, Manifest, OnnxRuntime,
  Picture, Pixels, Token,
} from 'fastcap';

const ort: OnnxRuntime = { InferenceSession: { create: async () => ({}) }, Tensor: class {} };
const loading: LoadOptions = { onProgress: (share: number) => share.toFixed(), threads: 2, ort, vendor: '/runtime/' };
const asking: CaptionOptions = { length: 'short', candidates: 3, neutral: true, decode: 'beam', beams: 4 };
const how: AskOptions = { beams: 3 };
const address: Address = { href: 'https://a.example/model' };

export async function alt(picture: Picture, pixels: Pixels): Promise<string> {
  const captioner: Captioner = await load('models/fastcap-base', loading);
  await load(address);
  const manifest: Manifest = captioner.manifest;
  const decode: Decode | undefined = captioner.decodes[0];
  const [caption]: Caption[] = await captioner.caption(picture, { ...asking, decode });
  const many: Caption[] = await captioner.caption([pixels, pixels], { length: 9 });
  const one: Caption = await captioner.captionPixels(new Uint8Array(3 * manifest.preprocessing.width ** 2));
  const photo: Encoded = await captioner.encode(picture);
  const answer: Answer = await captioner.ask(photo, manifest.questions?.template ?? 'a dog?', how);
  const answers: Answer[] = await captioner.ask(pixels, [answer.question, answer.text]);
  await captioner.caption([photo, photo], { minConfidence: (answers[0] ?? answer).confidence });
  const candidate: Candidate | undefined = caption?.candidates[0];
  const token: Token | undefined = one.tokens[0];
  const bytes: number = manifest.files['model.onnx']?.bytes ?? 0;
  const [low, high]: readonly [number, number] = manifest.decoding.lengths.short;
  try {
    return `${candidate?.text} ${token?.confidence} ${many.length} ${bytes + low + high} ${one.milliseconds}`;
  } catch (error) {
    if (error instanceof ImageError || error instanceof ConfigError) return error.name;
    if (error instanceof ModelFileError) return error.message;
    throw error;
  }
}
"""
BROWSER = """
export async function more(captioner: Captioner, blob: Blob, file: File, image: HTMLImageElement,
                           video: HTMLVideoElement, canvas: OffscreenCanvas, bitmap: ImageBitmap, data: ImageData) {
  await captioner.caption([blob, file, image, video, canvas, bitmap, data]);
  await load(new URL('https://a.example/model'));
  // @ts-expect-error
  await captioner.caption('photo.jpg');
}
"""
WRONG = {
    "an unknown option": "c.caption(p, { lenght: 'short' })",
    "a length of another name": "c.caption(p, { length: 'tiny' })",
    "a way of decoding that is not there": "c.caption(p, { decode: 'sample' })",
    "a number as a text": "c.caption(p, { candidates: '3' })",
    "no picture": "c.caption()",
    "a picture without a size": "c.caption({ data: new Uint8Array(4) })",
    "pixels that are plain numbers": "c.captionPixels([1, 2, 3])",
    "an array where one comes back": "c.captionPixels(new Uint8Array(3)).then((each) => each.length)",
    "one where an array comes back": "c.caption(p).then((each) => each.text)",
    "a question that is none": "c.ask(p, 7)",
    "one answer where several come back": "c.ask(p, ['a dog?']).then((each) => each.text)",
    "an encoded picture of one's own": "c.ask({ pixels: new Uint8Array(3) }, 'a dog?')",
    "a captioner of one's own": "new Captioner()",
    "another manifest": "c.manifest = c.manifest",
    "a caption that is written to": "c.captionPixels(new Uint8Array(3)).then((each) => { each.text = ''; })",
    "no address": "load()",
    "an unknown option of load": "load('m', { workers: 2 })",
    "progress as a text": "load('m', { onProgress: 'share' })",
    "a runtime that is none": "load('m', { ort: {} })",
}


def compile_types(app: Path, code: str, *options: str) -> str:
    """What the compiler objects to; "" for nothing."""
    (app / "t.ts").write_text(code)
    return node(app, tool("typescript") / "bin" / "tsc", "--noEmit", "--strict", *options, "t.ts").stdout


@pytest.mark.parametrize(
    "options",
    [
        "--module nodenext --target es2022",
        "--module node16 --target es2022",
        "--module esnext --moduleResolution bundler --target es2022",
        "--module preserve --target esnext",
        "--module nodenext --target es2022 --exactOptionalPropertyTypes --noUncheckedIndexedAccess",
        "--module nodenext --target es2022 --verbatimModuleSyntax --isolatedModules",
    ],
)
def test_an_example_of_everything_compiles(options, application):
    asked = options.split()
    code = EXAMPLE.replace("{ ...asking, decode }", "decode ? { ...asking, decode } : asking")
    assert compile_types(application, code + BROWSER, *asked, "--skipLibCheck", "false") == ""
    assert compile_types(application, code, *asked, "--lib", "es2022") == "", "without the DOM, as in Node"


def test_what_is_wrong_does_not_compile(application):
    lines = [f"// @ts-expect-error {name}\n{code};" for name, code in WRONG.items()]
    head = "import { Captioner, load, type Picture } from 'fastcap';\ndeclare const c: Captioner, p: Picture;\n"
    assert compile_types(application, head + "\n".join(lines), "--module", "nodenext", "--target", "es2022") == ""


def test_types_name_what_the_module_exports():
    module = (WEB / "fastcap.js").read_text("utf-8")
    exported = set(re.findall(r"^export (?:async )?(?:function|class|const) (\w+)", module, re.M))
    exported |= {name.strip() for names in re.findall(r"^export \{(.*?)\}", module, re.M) for name in names.split(",")}
    assert set(re.findall(r"^export (?:function|class|const) (\w+)", TYPES, re.M)) == exported


@pytest.mark.parametrize(
    ("name", "function"),
    [("CaptionOptions", r"^  #plan\(\{(.*?)\}\)"), ("LoadOptions", r"load\(folder, \{(.*?)\} = \{\}\)")],
)
def test_types_have_the_options_that_the_module_takes(name, function):
    (taken,) = re.findall(function, (WEB / "fastcap.js").read_text("utf-8"), re.S | re.M)
    names = set(re.findall(r"(?:^|,)\s*(\w+)", re.sub(r"=[^,]*", "", taken.replace("() => {}", ""))))
    body = re.search(rf"interface {name} \{{(.*?)\n\}}", TYPES, re.S)[1]
    assert set(re.findall(r"^  (\w+)\?:", body, re.M)) == names - {"unknown"}
