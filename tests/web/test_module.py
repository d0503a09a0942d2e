"""fastcap.js does what the Python runtime does: the same pixels, the same wording, the same captions."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, features
from visiting import WEB, Module

import fastcap
from fastcap.errors import ImageError
from fastcap.evaluation.speed import sample_photo
from fastcap.runtime.contract import PHOTO
from fastcap.runtime.images import load_image
from fastcap.runtime.neutral import neutralise
from fastcap.runtime.photo import PhotoHead, statistics
from fastcap.runtime.text import ends_early, sentence, word_count

SENTENCES = [
    "a dog , a dog runs .",
    " a hat on top of a hat a hat",
    "this is a photo of two men 's bikes",
    "an image showing a dog - friendly park",
    "there is a picture of the ( big ) house !",
    'a sign that says " stop "',
    "the the the woman ca n't see her",
    "photograph of",
    "1 , 2 , 3",
    "  ...  ",
    "",
    "ünïcode straße , 写真 of a picture",
    "a\tman\nand\x00his dog\u200b",
    "Is it a dog ?",
    "She is a fireman and he was an actress .",
    "a male nurse and a female , her HER Her dog",
    "A MAN , a Woman and an uncle ; a manhole",
    "a man and a woman are holding hands with their son",
]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def with_chunk(data: bytes, name: bytes, body: bytes) -> bytes:
    chunk = len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
    return data[:33] + chunk + data[33:]


def part_of_a_gif(photo: Image.Image) -> bytes:
    """A canvas of 900x700 pixels, on which the first frame draws 640x480."""
    data = bytearray(encoded(photo.convert("P"), "GIF"))
    data[6:10] = (900).to_bytes(2, "little") + (700).to_bytes(2, "little")
    return bytes(data)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """640x480 pixels with edges and noise: what decoders and filters disagree on."""
    return Image.open(io.BytesIO(sample_photo(640, 480, seed=5))).convert("RGB")


PICTURES = {
    "jpeg": lambda photo: encoded(photo, "JPEG", quality=90),
    "large jpeg": lambda photo: encoded(photo.resize((2403, 1803)), "JPEG", quality=80),
    "jpeg without subsampling": lambda photo: encoded(photo.resize((1000, 700)), "JPEG", subsampling=0),
    "progressive jpeg": lambda photo: encoded(photo, "JPEG", progressive=True),
    "grey jpeg": lambda photo: encoded(photo.convert("L"), "JPEG"),
    "cmyk jpeg": lambda photo: encoded(photo.convert("CMYK"), "JPEG"),
    "small jpeg": lambda photo: encoded(photo.resize((300, 200)), "JPEG"),
    "jpeg turned by 180 degrees": lambda photo: encoded(photo, "JPEG", exif=turned(3)),
    "jpeg turned by 90 degrees": lambda photo: encoded(photo, "JPEG", exif=turned(6)),
    "jpeg mirrored and turned": lambda photo: encoded(photo, "JPEG", exif=turned(5)),
    "small jpeg turned by 270 degrees": lambda photo: encoded(photo.resize((300, 200)), "JPEG", exif=turned(8)),
    "png": lambda photo: encoded(photo, "PNG"),
    "large png": lambda photo: encoded(photo.resize((1511, 1007)), "PNG", compress_level=1),
    "wide png": lambda photo: encoded(photo.resize((5000, 100)), "PNG"),
    "tiny png": lambda photo: encoded(photo.resize((3, 2)), "PNG"),
    "png of 16 bits": lambda photo: encoded(
        Image.fromarray(np.asarray(photo.convert("L"), np.uint16) * 256 + 131), "PNG"
    ),
    "jpeg turned by XMP": lambda photo: encoded(photo, "JPEG", xmp=b'<x tiff:Orientation="6"/>'),
    "jpeg whose EXIF is none": lambda photo: encoded(photo, "JPEG", exif=b"Exif\0\0junk", xmp=b"<tiff:Orientation>8<"),
    "jpeg with junk": lambda photo: b"\xff\xd8\xff\xfe\0\x04hijunk" + encoded(photo, "JPEG", exif=turned(6))[2:],
    "large jpeg mirrored": lambda photo: encoded(photo.resize((2403, 1803)), "JPEG", quality=80, exif=turned(7)),
    **{f"png turned, {n}": lambda photo, n=n: encoded(photo, "PNG", exif=turned(n)) for n in range(2, 9)},
    "png with a gamma": lambda photo: with_chunk(encoded(photo, "PNG"), b"gAMA", (100_000).to_bytes(4, "big")),
    "png turned by XMP": lambda photo: with_chunk(
        encoded(photo, "PNG"), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='6'/>".replace(b"'", b'"')
    ),
    "png turned by packed XMP": lambda photo: with_chunk(
        encoded(photo, "PNG"), b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b'<x tiff:Orientation="6"/>')
    ),
    "png turned by a text of ImageMagick": lambda photo: with_chunk(
        encoded(photo, "PNG"),
        b"zTXt",
        b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 9\n" + turned(6).tobytes().hex().encode() + b"\n"),
    ),
    **{f"webp turned, {n}": lambda photo, n=n: encoded(photo, "WEBP", exif=turned(n)) for n in range(2, 9)},
    "webp turned by XMP": lambda photo: encoded(photo, "WEBP", xmp=b'<x tiff:Orientation="6"/>'),
    "webp": lambda photo: encoded(photo, "WEBP"),
    "gif": lambda photo: encoded(photo.convert("P"), "GIF"),
    "bmp": lambda photo: encoded(photo, "BMP"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_pixels_are_those_of_python(kind: str, module: Module, photo: Image.Image) -> None:
    picture = PICTURES[kind](photo)
    np.testing.assert_array_equal(module.pixels(picture), load_image(picture))


def with_opacity(photo: Image.Image) -> Image.Image:
    photo = photo.copy()
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    return photo


def with_another_profile(photo: Image.Image, kind: str) -> bytes:
    """Its numbers mean other colours: those of a profile whose red and green are sRGB's the other way round."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    profile = bytes(data).replace("sRGB".encode("utf-16-be"), "odd!".encode("utf-16-be")).replace(b"sRGB", b"odd!")
    return encoded(photo, kind, icc_profile=profile)


NEARLY = {
    "png with opacity": lambda photo: encoded(with_opacity(photo), "PNG"),
    "webp with opacity": lambda photo: encoded(with_opacity(photo), "WEBP", lossless=True),
    "gif that draws a part": part_of_a_gif,
    "png with a profile": lambda photo: with_another_profile(photo, "PNG"),
    "jpeg with a profile": lambda photo: with_another_profile(photo.resize((500, 400)), "JPEG"),
    "large jpeg with a profile": lambda photo: with_another_profile(photo.resize((1500, 1200)), "JPEG"),
    "webp with a profile": lambda photo: with_another_profile(photo, "WEBP"),
}
"""A canvas rounds before it is resized what Python rounds afterwards."""


@pytest.mark.parametrize("kind", NEARLY)
def test_transparency_lies_on_white_and_colours_are_those_of_the_profile(
    kind: str, module: Module, photo: Image.Image
) -> None:
    picture = NEARLY[kind](photo)
    difference = abs(module.pixels(picture).astype(int) - load_image(picture))
    assert difference.max() <= 3
    assert difference.mean() < 0.7


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_upright_as_in_python(orientation: int, module: Module, photo: Image.Image) -> None:
    picture = encoded(photo, "AVIF", exif=turned(orientation))
    assert abs(module.pixels(picture).astype(int) - load_image(picture)).mean() < 2


@pytest.mark.parametrize("size", [(64, 32), (224, 300)])
def test_models_of_any_size_and_shape_are_served(size: tuple[int, int], module: Module, photo: Image.Image) -> None:
    picture = encoded(photo, "PNG")
    np.testing.assert_array_equal(module.pixels(picture, *size), load_image(picture, size))


@pytest.mark.parametrize(
    ("kind", "settings", "cut"),
    [
        ("JPEG", {}, 2),  # no end mark
        ("JPEG", {}, 40),  # nor the last few blocks
        ("JPEG", {"progressive": True}, 2),
        ("JPEG", {}, 5000),
        ("PNG", {}, 12),  # no end
        ("PNG", {}, 5000),
        ("GIF", {}, 1),
        ("WEBP", {}, 5000),
    ],
)
def test_harmless_damage_costs_no_caption_as_in_python(
    kind: str, settings: dict[str, bool], cut: int, module: Module, photo: Image.Image
) -> None:
    """What Chromium itself refuses, and shows in a page."""
    data = encoded(photo, kind, **settings)[:-cut]
    try:
        expected = load_image(data)
    except ImageError:
        assert module.error("await captioner.caption(data)", data=data).startswith("ImageError: <Blob>: not a picture")
    else:
        np.testing.assert_array_equal(module.pixels(data), expected)


@pytest.mark.parametrize("size", [0, 7, 2**20 + 1])
def test_a_webp_that_states_a_wrong_size_of_itself_is_read(size: int, module: Module, photo: Image.Image) -> None:
    data = encoded(photo, "WEBP")
    wrong = data[:4] + size.to_bytes(4, "little") + data[8:]
    np.testing.assert_array_equal(module.pixels(wrong), load_image(data))


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\xff\xd8\xff\xe0 cut short"])
def test_what_is_no_picture_is_an_image_error(data: bytes, module: Module) -> None:
    assert module.error("await captioner.caption(data)", data=data).startswith(
        "ImageError: <Blob>: not a picture that this browser can read"
    )


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heix", "HEIC"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"8BPS\0\1", "PSD"),
    ],
)
def test_what_browsers_do_not_show_is_called_by_its_name(data: bytes, name: str, module: Module) -> None:
    assert module.error("await captioner.caption(data)", data=data) == (
        f"ImageError: <Blob>: {name}, which this browser does not show; allowed are JPEG, PNG, WebP, GIF, BMP and AVIF"
    )


def test_wording_is_that_of_python(module: Module, captioner: fastcap.Captioner) -> None:
    tokenizer = captioner.bundle.tokenizer()
    drawn = np.random.default_rng(0).integers(5, tokenizer.get_vocab_size(), (200, 12))
    texts = SENTENCES + [tokenizer.decode(list(row)) for row in drawn]
    assert module.run("return texts.map(text.sentence)", texts=texts) == [sentence(text) for text in texts]
    assert module.run("return texts.map(text.wordCount)", texts=texts) == [word_count(text) for text in texts]
    assert module.run("return texts.map(text.endsEarly)", texts=texts) == [ends_early(text) for text in texts]
    assert module.run("return texts.map((each) => neutral.neutralise(each))", texts=texts) == [
        neutralise(text) for text in texts
    ]


def test_token_ids_are_decoded_as_in_python(module: Module, captioner: fastcap.Captioner) -> None:
    tokenizer = captioner.bundle.tokenizer()
    rows = [[index] for index in range(tokenizer.get_vocab_size())]
    rows += np.random.default_rng(1).integers(0, tokenizer.get_vocab_size(), (100, 20)).tolist()
    body = """const held = new tokenizer.Tokenizer(await (await fetch('/model/tokenizer.json')).json());
              return rows.map((row) => held.decode(row))"""
    decoded = module.run(body, rows=rows)
    assert decoded == [tokenizer.decode(row) for row in rows]


@pytest.fixture(scope="module")
def tiny(module: Module, tiny_bundle: Path) -> fastcap.Captioner:
    """The tiny model in Python; in the browser it is `window.modules.tiny`."""
    page = module._page
    page.route(
        "**/tiny/*", lambda route: route.fulfill(path=tiny_bundle / route.request.url.split("/")[-1].split("?")[0])
    )
    page.evaluate("async () => { modules.tiny = await modules.fastcap.load('/tiny'); }")
    return fastcap.load_model(tiny_bundle)


@pytest.mark.parametrize("colour", ["red", "lime", "blue"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"candidates": 4},
        {"length": "short", "candidates": 8},
        {"length": 7, "candidates": 2},
        {"length": 24},
        {"length": "long", "neutral": True},
    ],
    ids=str,
)
def test_captions_are_those_of_python(options: dict, colour: str, module: Module, tiny: fastcap.Captioner) -> None:
    picture = encoded(Image.new("RGB", (60, 40), colour), "PNG")
    expected = tiny.caption(picture, **options)
    body = "return modules.tiny.caption(picture, options)"
    (found,) = module.run(body, picture=picture, options=options)
    assert [wording["text"] for wording in found["candidates"]] == [wording.text for wording in expected.candidates]
    for wording, other in zip([found, *found["candidates"]], [expected, *expected.candidates], strict=True):
        assert wording["text"] == other.text
        assert wording["confidence"] == pytest.approx(other.confidence, abs=1e-5)
        assert [token["text"] for token in wording["tokens"]] == [token.text for token in other.tokens]


KINDS = ("white", "gradient", "noise", "stripes", "photo")


def a_picture(kind: str, photo: Image.Image) -> bytes:
    noise = np.random.default_rng(3).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    stripes = np.repeat(np.tile(np.array([[255], [0], [90]], np.uint8), (80, 300))[..., None], 3, axis=2)
    made = {
        "white": Image.new("RGB", (300, 200), "white"),
        "gradient": Image.linear_gradient("L").convert("RGB"),
        "noise": Image.fromarray(noise),
        "stripes": Image.fromarray(stripes),
        "photo": photo,
    }
    return encoded(made[kind], "PNG")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_photo_is_told_as_in_python(
    kind: str, module: Module, captioner: fastcap.Captioner, photo: Image.Image
) -> None:
    """The counts of pixels are the same; the head's answer too, of the same vector; the caption's kind, of the page's
    own vector, which may differ by the rounding of integers."""
    picture = a_picture(kind, photo)
    pixels = load_image(picture)
    counted = module.run(
        "const pixels = await images.loadImage(picture, 224, 224); return head.statistics(pixels, 224, 224)",
        picture=picture,
    )
    np.testing.assert_allclose(counted, statistics(pixels), rtol=0, atol=1e-9)
    values = json.loads((captioner.bundle.folder / PHOTO).read_text(encoding="utf-8"))
    vector = captioner.embed_images([pixels])[0]
    told = module.run(
        "const pixels = await images.loadImage(picture, 224, 224);"
        "return new head.PhotoHead(numbers).judge(pixels, 224, 224, vector)",
        picture=picture,
        numbers=values,
        vector=vector.tolist(),
    )
    expected = PhotoHead(values).judge(pixels, vector)
    assert told["kind"] == expected.kind
    assert told["photo"] == pytest.approx(expected.photo, abs=1e-9)
    [caption] = module.run("return await captioner.caption(picture)", picture=picture)
    mine = captioner.caption(picture)
    assert caption["kind"] == mine.kind
    assert caption["confidence"] == pytest.approx(mine.confidence, abs=0.03)


def test_silence_and_hedging_are_those_of_python(module: Module, photo: Image.Image) -> None:
    white, seen = a_picture("white", photo), encoded(photo, "JPEG")
    [silent] = module.run("return await captioner.caption(white, { minConfidence: 0.2 })", white=white)
    assert (silent["text"], silent["candidates"], silent["kind"]) == ("", [], "blank")
    [long] = module.run("return await captioner.caption(white, { minConfidence: 0.2, length: 'short' })", white=white)
    assert (long["text"], long["kind"]) == ("", "blank")
    [hedged] = module.run("return await captioner.caption(seen, { hedge: 1 })", seen=seen)
    assert hedged["text"].startswith("Maybe: ") and hedged["candidates"][0]["text"] == hedged["text"]
    error = module.error("await captioner.caption(seen, { minConfidence: 2 })", seen=seen)
    assert error == "ConfigError: minConfidence is 2; allowed are numbers from 0 to 1"


def test_pixels_can_be_captioned_without_a_picture(module: Module, tiny: fastcap.Captioner) -> None:
    body = """const pixels = new Uint8Array(224 * 224 * 3).map((_, at) => (at % 3 === 2 ? 9 : 0));
              return (await modules.tiny.captionPixels(pixels)).text"""
    assert module.run(body) == tiny.caption(np.full((5, 5, 3), (0, 0, 9), np.uint8)).text


def test_many_pictures_come_back_in_their_order(module: Module, tiny: fastcap.Captioner) -> None:
    pictures = [encoded(Image.new("RGB", (40, 30), colour), "PNG") for colour in ("red", "lime", "blue")]
    body = """const one = await modules.tiny.caption([a, b, c]);
              const each = await Promise.all([a, b, c].map((picture) => modules.tiny.caption(picture))); // all at once
              return [one.map((caption) => caption.text), each.map(([caption]) => caption.text)]"""
    expected = [caption.text for caption in tiny.caption(pictures)]
    assert module.run(body, **dict(zip("abc", pictures, strict=True))) == [expected, expected]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": "huge"}, "length is 'huge'; allowed are short, normal, long or a number of words"),
        ({"length": 3}, "length is 3; allowed are whole numbers from 4 to 24"),
        ({"candidates": 99}, "candidates is 99; allowed are whole numbers from 1 to 8"),
        (
            {"candidats": 2},
            "unknown option candidats; allowed are length, candidates, neutral, decode, beams, minConfidence, hedge, "
            "noMemory",
        ),
    ],
)
def test_an_option_out_of_range_says_what_is_allowed(options: dict, message: str, module: Module, tiny) -> None:
    assert module.error("await modules.tiny.caption(new Blob(), options)", options=options) == f"ConfigError: {message}"


def test_a_damaged_model_is_refused(module: Module, demo) -> None:
    page = module._page
    damaged = b"\0" * (WEB.parent / "src/fastcap/bundled/fastcap-base/tokenizer.json").stat().st_size
    page.route("**/tokenizer.json*", lambda route: route.fulfill(body=damaged))
    refused = module.error("await fastcap.load('model')")
    page.unroute_all()
    assert re.match(r"ModelFileError: .*/model/tokenizer\.json\?\w+: sha256 is ", refused)


@pytest.mark.slow
def test_threads_change_nothing(module: Module, captioner: fastcap.Captioner, photo: Image.Image) -> None:
    picture = encoded(photo, "JPEG")
    body = """const other = await fastcap.load('model', { threads: 2 });
              return [crossOriginIsolated, (await other.caption(picture))[0].text]"""
    page = module._page.context.browser.new_page(service_workers="block")
    page.goto(module._page.url)
    page.evaluate("async () => { window.modules = { fastcap: await import('/fastcap.js') }; }")
    assert Module(page).run(body, picture=picture) == [True, captioner.caption(picture).text]
    page.close()


@pytest.mark.slow
def test_onnx_runtime_alone_captions_in_fifteen_lines(module: Module, photo: Image.Image) -> None:
    """The code in docs/web.md, with the package that it imports out of vendor/."""
    page_text = (Path(WEB).parent / "docs" / "web.md").read_text("utf-8")
    (code,) = re.findall(r"```js\n(import \* as ort.*?)```", page_text, re.DOTALL)
    assert len(code.strip().splitlines()) <= 15
    page = module._page.context.browser.new_page(service_workers="block")
    page.goto(module._page.url)
    page.route(
        "**/example.mjs",
        lambda route: route.fulfill(
            body=code.replace("'onnxruntime-web/wasm'", "'/plain/ort.wasm.min.mjs'"), content_type="text/javascript"
        ),
    )

    def plain(route) -> None:
        name = route.request.url.rpartition("/")[2]
        if name.endswith(".wasm"):
            data = gzip.decompress((WEB / "vendor" / f"{name}.gz").read_bytes())
            route.fulfill(body=data, content_type="application/wasm")
        else:
            route.fulfill(body=(WEB / "vendor" / name).read_bytes(), content_type="text/javascript")

    page.route("**/plain/*", plain)
    page.evaluate("async () => { window.modules = await import('/example.mjs'); }")
    picture = encoded(photo.resize((224, 224)), "PNG")
    body = "return modules.caption(picture, '/model')"
    text = Module(page).run(body, picture=picture)
    page.close()
    asked = "return (await captioner.caption(picture, { noMemory: true }))[0].text"
    assert sentence(text) == module.run(asked, picture=picture)
