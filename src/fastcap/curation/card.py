"""What a merged data set says of itself: a card for the hub, and metadata in Croissant (MLCommons, version 1.0)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["card", "croissant"]

_COLUMNS = {
    "image": ("sc:ImageObject", "the picture's file as it came"),
    "captions": ("sc:Text", "what people, or a model, wrote of the picture"),
    "originals": ("sc:Text", "for each caption the one that it was made from; empty where there is none"),
    "source": ("sc:Text", "the data set that it comes from"),
    "source_id": ("sc:Text", "its id there"),
    "licence": ("sc:Text", "terms of use of that data set"),
    "width": ("sc:Integer", "pixels"),
    "height": ("sc:Integer", "pixels"),
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card(name: str, record: Mapping[str, Any]) -> str:
    """`README.md`, with the header that the hub reads. `record`: see `merge`."""
    pictures = sum(part["pictures"] for part in record["splits"].values())
    size = next((words for limit, words in _SIZES if pictures < limit), "1M<n<10M")
    files = "".join(
        f"      - split: {'validation' if side == 'val' else side}\n        path: data/{side}-*\n"
        for side, part in record["splits"].items()
        if part["pictures"]
    )
    header = (
        "---\nlicense: other\nlanguage:\n  - en\ntask_categories:\n  - image-to-text\n"
        f"size_categories:\n  - {size}\nconfigs:\n  - config_name: default\n    data_files:\n{files}---\n"
    )
    sources = "".join(
        f"| {source} | {part['pictures']['train']} | {part['pictures']['val']} | {part['pictures']['test']} | "
        f"{part['captions']} | {part['licence'].replace('|', '/')} |\n"
        for source, part in record["sources"].items()
    )
    same, left = record["same_picture"], record["left_out"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in same["kinds"].items()) or "none"
    moved = ", ".join(f"{count} from {way}" for way, count in same["moved"].items()) or "none"
    columns = "".join(f"| `{column}` | {told} |\n" for column, (_, told) in _COLUMNS.items())
    return (
        f"{header}\n# {name}\n\n{pictures} captioned pictures, merged by `fastcap data merge`.\n\n"
        f"| source | train | val | test | captions | licence |\n|---|---|---|---|---|---|\n{sources}\n"
        "## How the splits were made\n\nA picture that was for testing or validation in any source is for that here. "
        "Pictures that are the same, also encoded again, cropped a little or mirrored, are on one side, the strictest "
        f"of any of them. Pairs of such pictures: {same['pairs']} ({kinds}). Pictures moved: {moved}. Pairs that are "
        f"still in two splits: {same['across_splits']}. Left out: {left['rows']} rows and {left['pictures']} pictures "
        "that cannot be used.\n\n"
        f"## Columns\n\n| column | what |\n|---|---|\n{columns}"
    )


def croissant(name: str, record: Mapping[str, Any]) -> str:
    """`croissant.json`: where the tables are, what their columns mean, and how many rows were counted."""
    context = {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "sc": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/",
        "dct": "http://purl.org/dc/terms/",
        "column": "cr:column",
        "conformsTo": "dct:conformsTo",
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "extract": "cr:extract",
        "field": "cr:field",
        "fileObject": "cr:fileObject",
        "recordSet": "cr:recordSet",
        "repeated": "cr:repeated",
        "source": "cr:source",
    }
    counts = ", ".join(f"{part['pictures']} {side}" for side, part in record["splits"].items())
    licences = dict.fromkeys(part["licence"] for part in record["sources"].values())
    return (
        json.dumps(
            {
                "@context": context,
                "@type": "sc:Dataset",
                "conformsTo": "http://mlcommons.org/croissant/1.0",
                "name": name,
                "description": f"Captioned pictures of {', '.join(record['sources'])}: {counts}.",
                "license": list(licences),
                "version": "1.0.0",
                "distribution": [
                    {
                        "@type": "cr:FileObject",
                        "@id": table["file"],
                        "name": table["file"].rpartition("/")[2],
                        "contentUrl": table["file"],
                        "contentSize": f"{table['bytes']} B",
                        "encodingFormat": "application/x-parquet",
                        "sha256": table["sha256"],
                    }
                    for table in record["tables"]
                ],
                "recordSet": [_records(table) for table in record["tables"]],
            },
            indent=1,
            ensure_ascii=False,
        )
        + "\n"
    )


def _records(table: Mapping[str, Any]) -> dict[str, Any]:
    name = table["file"].rpartition("/")[2].removesuffix(".parquet")
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"{table['rows']} rows",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{column}",
                "name": column,
                "description": told,
                "dataType": kind,
                "repeated": column in ("captions", "originals"),
                "source": {"fileObject": {"@id": table["file"]}, "extract": {"column": column}},
            }
            for column, (kind, told) in _COLUMNS.items()
        ],
    }
