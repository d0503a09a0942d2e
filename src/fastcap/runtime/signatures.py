"""What a file is: pictures by their names in a folder, formats by the first bytes of a file."""

from __future__ import annotations

import posixpath

__all__ = ["FORMATS", "IMAGE_SUFFIXES", "READ_SUFFIXES", "format_of", "is_picture", "is_private"]

FORMATS = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF")
"""The formats that are read, and HEIC with the extra `heif`; every other decoder that Pillow has stays out of reach."""

_READ = """
    .jpg .jpeg .jpe .jfif .pjpeg .pjp .mpo .png .apng .webp .gif .bmp .dib .tif .tiff .avif .avifs
    .heic .heif .heics .heifs .hif"""
_OTHERS = """
    .jxl .jp2 .j2k .jpf .jpx .jxr .wdp .psd .psb .svg .ico .cur .icns .tga .pcx .ppm .pgm .pbm .pnm .exr .hdr .dds .qoi
    .xcf .bpg .flif .cr2 .cr3 .nef .arw .dng .raf .orf .rw2 .pef .srw .x3f"""

READ_SUFFIXES = frozenset(_READ.split())
"""Endings of names, lower-case, of the formats that are read."""

IMAGE_SUFFIXES = READ_SUFFIXES | frozenset(_OTHERS.split())
"""Endings that count as pictures when a folder is listed; the others among them so that no picture is passed over in
silence."""

_PRIVATE = frozenset(
    {"@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "__macosx", "$recycle.bin", "system volume information"}
    | {"lost+found"}
)
"""Folders, lower-case, in which systems keep thumbnails, forks and what was deleted."""

_RAW = "a camera's raw format"
_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n\0\0\0\x04CgBI": "Apple's own kind of PNG (CgBI)",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0\x10\0\0\0CR": f"CR2 ({_RAW})",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"BM": "BMP",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"II\xbc": "JPEG XR",
    b"8BPS": "PSD",
    b"\0\0\1\0": "ICO",
    b"\0\0\2\0": "CUR",
    b"icns": "ICNS",
    b"IIRO": f"ORF ({_RAW})",
    b"IIRS": f"ORF ({_RAW})",
    b"MMOR": f"ORF ({_RAW})",
    b"IIU\0": f"RW2 ({_RAW})",
    b"FUJIFILMCCD-RAW": f"RAF ({_RAW})",
    b"FOVb": f"X3F ({_RAW})",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"DDS ": "DDS",
    b"qoif": "QOI",
    b"gimp xcf": "XCF",
    b"BPG\xfb": "BPG",
    b"FLIF": "FLIF",
    b"SIMPLE  =": "FITS",
    b"AT&TFORM": "DjVu",
    b"\x8aMNG": "MNG",
    b"\x8bJNG": "JNG",
    b"\x0a\x05\x01": "PCX",
    b"%PDF-": "PDF",
    b"%!PS": "PostScript",
    b"version https://git-lfs.github.com/": "a pointer of Git LFS (`git lfs pull` fetches the file)",
    **{b"P%d%c" % (number, space): "PPM" for number in range(1, 8) for space in b" \t\n\r"},
}
_TEXTS = frozenset({b"#?RADIANCE", b"SIMPLE  =", b"%PDF-", b"%!PS", b"version https://git-lfs.github.com/"})
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIF"),
    b"crx ": f"CR3 ({_RAW})",
}
_DIB_HEADERS = (40, 52, 56, 64, 108, 124)  # bytes


def is_picture(path: str) -> bool:
    """Whether a path in a folder or an archive is that of a picture of the user's."""
    return posixpath.splitext(path)[1].lower() in IMAGE_SUFFIXES and not any(map(is_private, path.split("/")))


def is_private(name: str) -> bool:
    """Whether a file or folder is the system's own: hidden, or one of thumbnails, forks and what was deleted."""
    return (name.startswith(".") and name not in (".", "..")) or name.lower() in _PRIVATE


def format_of(data: bytes) -> str:
    """The format of a file by its first bytes: as Pillow calls it, or in words if it is not read.

    "text" for a text that is no picture, "" for what is not known.
    """
    if data[4:8] == b"ftyp":  # AVIF, HEIF, and videos
        brands = (data[at : at + 4] for at in (8, *range(16, min(int.from_bytes(data[:4], "big"), 256), 4)))
        other = "HEIF" if data[8:12] in (b"mif1", b"msf1") else ""
        return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), other)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    is_text = _looks_like_text(data)
    if _is_tga(data):
        return "TGA"
    if is_text and data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<" and b"<svg" in data[:4096]:
        return "SVG"
    for signature, name in _SIGNATURES.items():
        # "BMW ..." is no bitmap.
        if data.startswith(signature) and (not is_text or name == "PPM" or signature in _TEXTS):
            return name
    if is_text:
        return "text"
    if int.from_bytes(data[:4], "little") in _DIB_HEADERS and data[12:14] == b"\1\0":
        return "DIB"
    return ""


def _is_tga(data: bytes) -> bool:
    """A TGA has no signature: a kind of picture, with a palette for two of the kinds, a size, and bits a pixel."""
    if (
        len(data) < 18
        or data[1] > 1
        or data[2] not in (1, 2, 3, 9, 10, 11)
        or not (any(data[12:14]) and any(data[14:16]))
    ):
        return False
    return (data[1] == 1) == (data[2] in (1, 9)) and data[16] in (8, 15, 16, 24, 32)


def _looks_like_text(data: bytes) -> bool:
    head = data[:512]
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # a character cut at the end of the window is still text
            return False
        text = head[: error.start].decode("utf-8")
    return bool(text) and all(letter.isprintable() or letter in "\t\n\r\f\ufeff" for letter in text)
