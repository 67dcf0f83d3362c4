"""A config as text: YAML files and `--section.field VALUE` arguments, both ways. Errors are one line with the field.

Knows the dataclasses of config.py and nothing of what a run does with them.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from swav_ray.config import Config, ConfigError
from swav_ray.one_line import one_line
from swav_ray.storage.place import place

_SECTIONS: dict[str, Any] = typing.get_type_hints(Config)


class UnknownSetting(ValueError):
    """A name that is no setting: the message, one line, has the nearest one."""


def field_types() -> dict[str, Any]:
    """Every setting by its dotted name, e.g. `train.epochs`, with its type."""
    return {
        f"{section}.{name}": hint
        for section, cls in _SECTIONS.items()
        for name, hint in typing.get_type_hints(cls).items()
    }


def to_dict(config: Config) -> dict[str, dict[str, Any]]:
    """Plain dicts, lists and numbers."""
    sections = dataclasses.asdict(config)
    return {
        section: {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
        for section, fields in sections.items()
    }


def to_yaml(config: Config) -> str:
    """What config.yaml holds and `--config` reads."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)


def from_yaml(text: str, base: Config, source: str) -> Config:
    """`base` with the fields that a YAML document names; raises ConfigError (naming `source` if it is no YAML)."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError("--config", source, f"is not YAML: {one_line(error)}") from None
    return base if document is None else from_document(document, base, source)


def from_document(document: Any, base: Config, source: str) -> Config:
    """`base` with the fields that a document names, sections mapped to fields; raises ConfigError, UnknownSetting."""
    if not isinstance(document, Mapping) or not all(isinstance(v, Mapping) for v in document.values()):
        raise ConfigError("--config", source, "must map sections to their fields, as a run's config.yaml does")
    values = {}
    for section, fields in document.items():
        for name, value in fields.items():
            dotted = f"{section}.{name}"
            values[dotted] = checked(dotted, value)
    return with_values(base, values)


def from_file(uri: str, base: Config) -> Config:
    """`base` with the fields that a YAML file at a place names; raises ConfigError, UnknownSetting."""
    try:
        text = place(uri).read_bytes().decode()
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError):
        raise ConfigError("--config", uri, "is no readable YAML file; a run's is its config.yaml") from None
    return from_yaml(text, base, uri)


def checked(dotted: str, value: Any) -> Any:
    """A plain value as the type of a setting; raises ConfigError, UnknownSetting."""
    return _checked(dotted, _known(dotted), value)


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """`config` with settings changed by dotted name, validated as a whole; raises ConfigError, UnknownSetting."""
    sections: dict[str, dict[str, Any]] = {}
    for dotted, value in values.items():
        _known(dotted)
        section, _, name = dotted.partition(".")
        sections.setdefault(section, {})[name] = value
    changed = {name: dataclasses.replace(getattr(config, name), **fields) for name, fields in sections.items()}
    return dataclasses.replace(config, **changed)


def parse_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    """`--section.field VALUE ...` (or `--section.field=VALUE`) to values by dotted name.

    Raises ConfigError or UnknownSetting."""
    values: dict[str, Any] = {}
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        if not argument.startswith("--"):
            raise ConfigError("argument", argument, "is not expected here; settings are written --section.field VALUE")
        option, equals, attached = argument[2:].partition("=")
        hint = _known(option)
        end = position + 1
        while end < len(arguments) and not arguments[end].startswith("--"):
            end += 1
        given = [attached, *arguments[position + 1 : end]] if equals else list(arguments[position + 1 : end])
        values[option] = _parsed(option, hint, given)
        position = end
    return values


def _known(dotted: str) -> Any:
    """The type of a setting; raises UnknownSetting, with the nearest name, if there is none."""
    known = field_types()
    if dotted in known:
        return known[dotted]
    leaf = dotted.rpartition(".")[2]
    near = difflib.get_close_matches(dotted, known, n=1, cutoff=0.6)
    near = near or [name for name in known if leaf == name.partition(".")[2]]
    near = near or [name for name in known if leaf and leaf in name.partition(".")[2]]
    hint = f"did you mean {near[0]}?" if near else "see --help for the settings"
    raise UnknownSetting(f"{dotted}: no such setting; {hint}")


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        inner, *more = typing.get_args(hint)
        if inner is str:
            return "any number of words"
        count = "one or more" if more == [...] else str(1 + len(more))
        return f"{count} {'whole numbers' if inner is int else 'numbers'}"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[hint]


def _parsed(dotted: str, hint: Any, arguments: list[str]) -> Any:
    """Arguments of the command line to a value of the field's type."""
    if typing.get_origin(hint) is tuple:
        if not arguments and typing.get_args(hint)[0] is not str:
            raise ConfigError(dotted, "", f"needs {_describe(hint)}")
        return _checked(
            dotted, hint, [_scalar(dotted, typing.get_args(hint)[0], argument, hint) for argument in arguments]
        )
    if len(arguments) != 1:
        raise ConfigError(dotted, " ".join(arguments), f"needs one value: {_describe(hint)}")
    return _scalar(dotted, hint, arguments[0], hint)


def _scalar(dotted: str, kind: type, argument: str, hint: Any) -> Any:
    if kind is str:
        return argument
    if kind is bool:
        if argument.lower() in ("true", "false"):
            return argument.lower() == "true"
        raise ConfigError(dotted, argument, f"must be {_describe(hint)}")
    try:
        return kind(argument.replace("_", ""))
    except ValueError:
        raise ConfigError(dotted, argument, f"must be {_describe(hint)}") from None


def _checked(dotted: str, hint: Any, value: Any) -> Any:
    """A value from YAML (or parsed arguments) as the field's type, without guessing; raises ConfigError."""
    if isinstance(hint, types.GenericAlias) or typing.get_origin(hint) is tuple:
        inner, *more = typing.get_args(hint)
        fits = isinstance(value, list | tuple) and (more == [...] or len(value) == 1 + len(more))
        if not fits:
            raise ConfigError(dotted, value, f"needs {_describe(hint)}")
        return tuple(_checked(dotted, inner, item) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-6 as text
        return _scalar(dotted, float, value, hint)
    if type(value) is not hint:
        raise ConfigError(dotted, value, f"must be {_describe(hint)}")
    return value


def help_text(defaults: Config) -> str:
    """A line for every setting: its name, default, unit and meaning."""
    lines = []
    for section, cls in _SECTIONS.items():
        lines.append(f"\n{section}:")
        for item in dataclasses.fields(cls):
            value = getattr(getattr(defaults, section), item.name)
            shown = " ".join(str(v) for v in value) if isinstance(value, tuple) else str(value)
            shown = {"True": "true", "False": "false", "": "none" if isinstance(value, tuple) else "''"}.get(
                shown, shown
            )
            unit = f" {item.metadata['unit']}" if item.metadata["unit"] else ""
            lines.append(f"  --{section}.{item.name}  [{shown}{unit}]\n      {item.metadata['doc']}")
    return "\n".join(lines)
