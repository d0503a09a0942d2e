"""What a file is: pictures by their names in a folder, formats by the first bytes of a file."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable

__all__ = [
    "FORMATS",
    "HEAD",
    "IMAGE_SUFFIXES",
    "PRIVATE",
    "RAW_TIFF_SUFFIXES",
    "READ_SUFFIXES",
    "TAR_SUFFIXES",
    "archive_of",
    "format_of",
    "is_picture",
    "is_private",
]

FORMATS = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF")
"""The formats that are read, and HEIC with the extra `heif`; every other decoder that Pillow has stays out of reach."""

_READ = """
    .jpg .jpeg .jpe .jfif .pjpeg .pjp .mpo .png .apng .webp .gif .bmp .dib .tif .tiff .avif .avifs
    .heic .heif .heics .heifs .hif"""
_OTHERS = """
    .jxl .jp2 .j2k .j2c .jpc .jpf .jpx .jpm .jph .jls .jxr .wdp .hdp .psd .psb .svg .svgz .eps .epsf .epsi .wmf .emf
    .ico .cur .ani .icns .tga .pcx .ppm .pgm .pbm .pnm .pam .pfm .exr .hdr .dds .qoi .xcf .bpg .flif .sgi .im .ras
    .sun .pict .pct .xbm .xpm .wbmp .dpx .cin .mng .jng .fits .fit .blp .ktx .ktx2 .kra .ora .raw .cr2 .cr3 .crw
    .nef .nrw .arw .srf .sr2 .dng .gpr .raf .orf .rw2 .rwl .pef .srw .x3f .3fr .fff .iiq .dcr .kdc .mrw .mef .mos
    .erf .dcm .dicom .djvu .djv"""
# Files that lie beside pictures in great number, and are not opened to see what they are.
_BESIDE = """
    .txt .json .jsonl .cls .csv .tsv .xml .xmp .aae .html .htm .md .yaml .yml .ini .log .db .py .js .css .npy .npz .pt
    .safetensors .parquet .arrow .mp4 .mov .avi .mkv .webm .mp3 .m4a .wav .zip .tar .gz .tgz .bz2 .tbz2 .xz .txz
    .zst .rar .7z .pdf .ai .ps .doc .docx .lnk"""

HEAD = 512
"""Bytes that tell what a file is."""

READ_SUFFIXES = frozenset(_READ.split())
"""Endings of names, lower-case, of the formats that are read."""

IMAGE_SUFFIXES = READ_SUFFIXES | frozenset(_OTHERS.split())
"""Endings that count as pictures when a folder is listed; the others among them so that no picture is passed over in
silence."""

RAW_TIFF_SUFFIXES = frozenset(
    {".dng", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".gpr", ".pef", ".srw", ".cr2", ".rwl", ".3fr", ".fff", ".iiq"}
    | {".dcr", ".kdc", ".mef", ".mos", ".erf"}
)
"""Endings of cameras' raw formats that begin as a TIFF does."""

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
"""Endings of the tars that are looked into."""

_OTHER_SUFFIXES = frozenset(_BESIDE.split())
PRIVATE = (
    *("@eaDir", "@tmp", "#recycle", "#snapshot", "@Recycle", "__MACOSX", "$RECYCLE.BIN", "System Volume Information"),
    "lost+found",
)
"""Folders, in any case of letters, in which systems keep thumbnails, forks and what was deleted."""

_PRIVATE = frozenset(map(str.lower, PRIVATE))

_RAW = "a camera's raw format"
_SIGNATURES = {
    b"\xff\xd8\xff\xf7": "JPEG-LS",
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
    b"\x01\xda\0\1": "SGI",
    b"\x01\xda\1\1": "SGI",
    b"\xd7\xcd\xc6\x9a": "WMF",
    b"\1\0\x09\0\0\3": "WMF",
    b"\1\0\0\0\x6c\0\0\0": "EMF",
    b"\xc5\xd0\xd3\xc6": "EPS",
    b"\x59\xa6\x6a\x95": "Sun raster",
    b"Image type": "IM",
    b"/* XPM */": "XPM",
    b"SDPX": "DPX",
    b"XPDS": "DPX",
    b"II\x1a\0\0\0HEAPCCDR": f"CRW ({_RAW})",
    b"\0MRM": f"MRW ({_RAW})",
    b"%PDF-": "PDF",
    b"%!PS": "PostScript",
    b"version https://git-lfs.github.com/": "a pointer of Git LFS (`git lfs pull` fetches the file)",
    **{b"P%d%c" % (number, space): "PPM" for number in range(1, 8) for space in b" \t\n\r"},
}
_ARCHIVES = {
    b"PK\3\4": "a ZIP archive",
    b"PK\5\6": "a ZIP archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\7": "a RAR archive",
    b"\x1f\x8b": "data packed by gzip",
    b"BZh": "data packed by bzip2",
    b"\xfd7zXZ\0": "data packed by xz",
    b"\x28\xb5\x2f\xfd": "data packed by Zstandard",
}
_TEXTS = frozenset(
    {
        b"Image type",
        b"/* XPM */",
        b"#?RADIANCE",
        b"SIMPLE  =",
        b"%PDF-",
        b"%!PS",
        b"version https://git-lfs.github.com/",
    }
)
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIF"),
    b"crx ": f"CR3 ({_RAW})",
}
# Formats whose first bytes nothing else begins with; more must fit of a BMP and a PPM.
_CLEAR = frozenset(
    {
        "JPEG",
        "PNG",
        "WEBP",
        "GIF",
        "TIFF",
        "AVIF",
        "HEIF",
        "JPEG XL",
        "JPEG-LS",
        "JPEG 2000",
        "DICOM",
        "DjVu",
        "PSD",
        "DDS",
        "OpenEXR",
        "XCF",
        "BPG",
    }
    | {"FLIF", "QOI", "MNG", "JNG", "EMF", "WMF", "EPS", "SGI", "Apple's own kind of PNG (CgBI)"}
    | {name for name in (*_SIGNATURES.values(), *_BRANDS.values()) if _RAW in name}
)
_CLEAR_BMP = re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)
_CLEAR_PPM = re.compile(rb"P[1-6][ \t\r\n]\s*(?:#[^\n]*\n\s*)*\d+\s+\d+\s")
_DIB_HEADERS = (40, 52, 56, 64, 108, 124)  # bytes


def is_picture(path: str, head: Callable[[], bytes] | None = None) -> bool:
    """Whether a path in a folder or an archive is that of a picture of the user's: by its ending or, where that says
    nothing, by its first bytes. `head` reads those."""
    if any(map(is_private, path.split("/"))):
        return False
    ending = posixpath.splitext(path)[1].lower()
    if head is None or ending in IMAGE_SUFFIXES or ending in _OTHER_SUFFIXES:
        return ending in IMAGE_SUFFIXES
    data = head()
    return format_of(data) in _CLEAR or bool(_CLEAR_BMP.match(data) or _CLEAR_PPM.match(data))


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
    if data[128:132] == b"DICM" and not is_text and _SIGNATURES.get(data[:4]) != "TIFF":  # a TIFF may be both
        return "DICOM"
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


def archive_of(data: bytes) -> str:
    """What an archive or a packed file is, by its first bytes and in words; "" for any other file."""
    if data[257:262] == b"ustar":
        return "a tar archive"
    return next((name for signature, name in _ARCHIVES.items() if data.startswith(signature)), "")


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
