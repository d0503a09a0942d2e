"""Captions as tokens, words or ids, as the metrics take them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

from fastcap.errors import DataError, listed, many, mapping

__all__ = ["references_of", "tokens_of", "with_references"]

T = TypeVar("T", bound=Hashable)


def tokens_of(caption: Iterable[T]) -> list[T]:
    """The tokens of one caption. Raises DataError for one text in their place, or what cannot be counted."""
    return listed(caption, "tokens", Hashable, DataError)


def references_of(captions: Iterable[Iterable[T]], of: str = "") -> list[list[T]]:
    """The tokens of one image's references. Raises DataError, also if there is none. `of`: the image, for messages."""
    references = [tokens_of(caption) for caption in many(captions, f"references{of}", DataError)]
    if not references:
        raise DataError(f"got no references{of}; needed: at least one for each image")
    return references


def with_references(
    candidates: Mapping[str, Iterable[T]], references: Mapping[str, Iterable[Iterable[T]]]
) -> Iterator[tuple[list[T], list[list[T]]]]:
    """Each image's caption and references. Raises DataError for an image without references, and what is no mapping."""
    mapping(candidates, "captions by image id, each as tokens", DataError)
    mapping(references, "lists of references by image id, each as tokens", DataError)
    for image_id, candidate in candidates.items():
        if image_id not in references:
            raise DataError(f"no references for image {image_id!r} among those of {len(references)} images")
        yield tokens_of(candidate), references_of(references[image_id], f" of {image_id!r}")
