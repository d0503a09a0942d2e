"""The query of `/v1/caption`: the options of captions, as the model that is served takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from fastcap.runtime.bundle import Bundle
from fastcap.runtime.options import Options, Sampling, Setting, settings

__all__ = ["Query", "allowed_values", "query_model"]


class Query(BaseModel):
    """What `query_model` extends by the options. `url`: pictures to fetch instead of a body."""

    model_config = ConfigDict(extra="forbid")
    if TYPE_CHECKING:
        url: list[str]  # declared by `query_model`, after the options

    def options(self, sent: Iterable[str], usual: Mapping[str, Any] | None = None) -> Options:
        """The options that were `sent`; for the others the server's `usual` ones, or the defaults.

        `model_fields_set` does not tell them: FastAPI up to 0.147 fills defaults in.
        """
        return Options.from_flat({**(usual or {}), **self.model_dump(include=set(sent) - {"url"})})


def query_model(bundle: Bundle, max_urls: int) -> type[Query]:
    """The query's fields, with the ranges of this model; `max_urls` is 0 where the server fetches nothing."""
    drawn = _settings(Sampling, bundle)
    model_fields: dict[str, Any] = {name: _field(each, bundle, "of decode=sample: ") for name, each in drawn.items()}
    model_fields |= {name: _field(each, bundle) for name, each in settings(Options).items()}
    told = "pictures to fetch, instead of a body; none where the server fetches nothing"
    model_fields["url"] = (list[str], Field([], max_length=max_urls, description=told))
    return create_model("Options", __base__=Query, **model_fields)


def allowed_values(bundle: Bundle, max_urls: int) -> dict[str, str]:
    """What each option may be, for messages."""
    return {
        **{name: each.allowed(bundle) for name, each in (settings(Options) | _settings(Sampling, bundle)).items()},
        "url": f"at most {max_urls} addresses" if max_urls else "none, as this server fetches nothing",
    }


def _settings(kind: type[Sampling], bundle: Bundle) -> dict[str, Setting]:
    """The settings of sampling; none for a model that cannot sample, so that its server refuses them as unknown."""
    return settings(kind) if "sample" in bundle.decodes else {}


def _field(setting: Setting, bundle: Bundle, prefix: str = "") -> tuple[Any, Any]:
    """Type and field of one option."""
    texts, numbers = setting.texts(bundle), setting.range(bundle)
    default = texts[0] if texts and setting.default is None else setting.default
    limits: dict[str, Any] = {"ge": numbers[0], "le": numbers[1]} if numbers else {}
    kind: Any = str if setting.default is None else type(setting.default)
    if texts and numbers:
        kind, limits = Literal[texts] | Annotated[int, Field(**limits)], {}  # type: ignore[valid-type]
    elif texts:
        limits = {"pattern": f"^({'|'.join(texts)})$"}
    return kind, Field(default, description=prefix + setting.told, **limits)
