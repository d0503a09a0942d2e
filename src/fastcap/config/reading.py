"""Reads settings strictly: YAML with includes and overrides, then plain data as frozen dataclasses.

An unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fastcap.errors import ConfigError, nearest

__all__ = ["check_positive", "check_ranges", "from_mapping", "merge", "override", "read_yaml"]

Config = TypeVar("Config")


def check_ranges(config: Any, **rules: tuple[bool, str]) -> None:
    """Raise ConfigError for the first setting whose rule does not hold; a rule is (holds, what is allowed)."""
    for name, (holds, allowed) in rules.items():
        if not holds:
            raise ConfigError(f"{name} is {getattr(config, name)!r}; allowed: {allowed}")


def check_positive(config: Any, *names: str) -> None:
    """Raise ConfigError for the first of the named counts that is below 1."""
    check_ranges(config, **{name: (getattr(config, name) >= 1, "1 or more") for name in names})


def from_mapping(kind: type[Config], mapping: dict[str, Any]) -> Config:
    """A dataclass from plain data, checked key by key and type by type (draccus converts the values).

    Raises:
        ConfigError: an unknown key (the nearest known one is named) or a value of the wrong type.
    """
    import draccus
    from draccus.utils import DecodingError

    for union in unions(kind):
        draccus.decode.register(union, functools.partial(decode_part, union))
    check_keys(kind, mapping, "")
    try:
        return draccus.decode(kind, mapping)
    except (DecodingError, TypeError, ValueError) as error:
        cause: BaseException | None = error  # draccus wraps the errors that a dataclass raises about its values
        while cause is not None and not isinstance(cause, ConfigError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            place = ".".join(map(str, getattr(error, "key_path", ())))
            raise ConfigError(f"{place or kind.__name__}: {cause}") from error
        told = wrong_value(kind, mapping, "") or f"{kind.__name__}: {' '.join(str(error).split())}"
        raise ConfigError(told) from error


def wrong_value(kind: Any, value: Any, where: str) -> str:
    """What is wrong with the first value that is not of its type, in our words rather than draccus's; "" if nothing."""
    import draccus

    if kinds := parts(kind):
        kind = chosen_part(kinds, value, where)
    if dataclasses.is_dataclass(kind):
        known, unset = settings(kind), dataclasses.MISSING
        required = (field.name for field in dataclasses.fields(kind) if field.default is field.default_factory is unset)
        if missing := [name for name in required if name not in value]:
            return f"{where} lacks {', '.join(missing)}"
        told = (wrong_value(known[key], item, f"{where}.{key}".lstrip(".")) for key, item in value.items())
    elif typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        told = (wrong_value(inner, item, f"{where}.{index}") for index, item in enumerate(value))
    else:
        try:
            draccus.decode(kind, value)
        except Exception:  # of a dozen types
            choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
            near = nearest(str(value), map(str, choices))
            needed = f"allowed: {', '.join(map(str, choices))}" if choices else f"needed: {needed_for(kind)}"
            return f"{where} is {value!r}{near}; {needed}"
        return ""
    return next(filter(None, told), "")


def needed_for(kind: Any) -> str:
    """A type of plain values in words."""
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "nothing"}
    return words.get(kind) or " or ".join(map(needed_for, typing.get_args(kind))) or str(kind)


def parts(hint: Any) -> dict[str, Any]:
    """The dataclasses of a union by their `kind`, the default first; empty for every other type."""
    members = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else ()
    classes: list[Any] = [member for member in members if dataclasses.is_dataclass(member)]
    return {member.kind: member for member in classes}


def unions(hint: Any) -> Iterator[Any]:
    """The unions of dataclasses below a dataclass."""
    if parts(hint):
        yield typing.Union[typing.get_args(hint)]  # noqa: UP007 (the form under which draccus looks a union up)
    elif dataclasses.is_dataclass(hint):
        for member in settings(hint).values():
            yield from unions(member)


def settings(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields by name."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def decode_part(union: Any, mapping: dict[str, Any], path: Sequence[str]) -> Any:
    """A part of a model from plain data; draccus alone would try every kind in turn."""
    from draccus.parsers.decoding import decode_dataclass

    return decode_dataclass(chosen_part(parts(union), mapping, ""), mapping, path)


def chosen_part(kinds: dict[str, Any], mapping: dict[str, Any], where: str) -> Any:
    """The dataclass that a part's `kind` names."""
    name = mapping.get("kind", next(iter(kinds)))
    if not isinstance(name, str) or name not in kinds:
        raise ConfigError(f"{where}.kind is {name!r}; allowed: {', '.join(kinds)}")
    return kinds[name]


def check_keys(kind: Any, value: Any, where: str) -> None:
    """Compare plain data with the type that it should become.

    Raises:
        ConfigError: the first key that is unknown, or value that is empty, infinite or not a list where one is needed.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where} is {value}; a finite number is needed")
    if kinds := parts(kind):
        kind = chosen_part(kinds, value if isinstance(value, dict) else {}, where)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{where or 'the configuration'} is {value!r}; a mapping is needed")
        known = settings(kind)
        for key, item in value.items():
            place = f"{where}.{key}" if where else str(key)
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.4)
                hint = f" (did you mean {near[0]!r}?)" if near else f"; known: {', '.join(known)}"
                raise ConfigError(f"unknown setting {place!r}{hint}")
            check_keys(known[key], item, place)
    elif value is None and type(None) not in typing.get_args(kind):
        raise ConfigError(f"{where} is empty; a value is needed")
    elif typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} is {value!r}; a list is needed")
        for index, item in enumerate(value):
            check_keys(typing.get_args(kind)[0], item, f"{where}.{index}")


def read_yaml(path: Path, including: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A YAML mapping; the files under `include` (paths relative to this one) are read first, then overridden by it.

    `including`: the files whose `include` led here.
    """
    import yaml

    if path.resolve() in including:
        raise ConfigError(f"{path} includes itself, by way of {including[-1].name}")
    if not path.is_file():
        raise ConfigError(f"no configuration file {path}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or a 13th month
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {type(content).__name__}; a mapping is needed")
    merged: dict[str, Any] = {}
    includes = content.pop("include", [])
    if not isinstance(includes, list) or not all(isinstance(name, str) for name in includes):
        raise ConfigError(f"{path}: include is {includes!r}; a list of file names is needed")
    for name in includes:
        merge(merged, read_yaml(path.parent / name, (*including, path.resolve())))
    merge(merged, content)
    return merged


def merge(base: dict[str, Any], over: dict[str, Any]) -> None:
    """Write `over` into `base`, mappings key by key."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value


def override(mapping: dict[str, Any], text: str) -> None:
    """Write one `key=value` into a mapping; keys have dots and list positions, values are YAML.

    Raises:
        ConfigError: no `=`, a value that is not YAML, or a key that leads nowhere.
    """
    import yaml

    key, equals, written = text.partition("=")
    if not equals:
        raise ConfigError(f"override {text!r} is not of the form key=value")
    try:
        value = yaml.safe_load(written)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"override {text!r}: the value is not YAML") from error
    *parents, last = key.split(".")
    target: Any = mapping
    for part in parents:
        index = place(target, part, text)
        target = target.setdefault(index, {}) if isinstance(target, dict) else target[index]
    target[place(target, last, text)] = value


def place(target: Any, part: str, text: str) -> Any:
    """A part of an override's key as an index of the mapping or list that it stands in."""
    if isinstance(target, dict):
        return part
    if not isinstance(target, list):
        raise ConfigError(f"override {text!r}: nothing called {part!r} to set")
    if not part.isdecimal() or int(part) >= len(target):
        raise ConfigError(f"override {text!r}: no item {part!r} in a list of {len(target)}")
    return int(part)
