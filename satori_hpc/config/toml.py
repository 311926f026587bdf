"""Read, check and write run.toml by frozen dataclasses whose fields hold their meaning and limits.

`option` declares a field; `read` turns a TOML file into the dataclass and reports every problem at once with its
line; `render` writes the commented file back, so that the comments of run.toml and the checks have one source.
"""

import copy
import dataclasses
import difflib
import functools
import hashlib
import json
import re
import textwrap
import tomllib
import types
import typing
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, TypeVar

from satori_hpc.errors import ConfigError, Problems, quoted
from satori_hpc.registry import Registry

Section = TypeVar("Section")
# Limit of nested keys, which would take forever to read; sections are three deep.
DEEP = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){64}""")


def option(
    default: Any,
    doc: str,
    *,
    choices: Collection[str] = (),
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """Declare one key of a section.

    Args:
        default: its default; None means that the key may be left out.
        doc: its meaning and unit; printed above the key in run.toml.
        choices: the strings allowed; a registry's names are looked up when they are needed.
        low: smallest number allowed.
        high: largest number allowed.
    """
    return dataclasses.field(default=default, metadata={"doc": doc, "choices": choices, "low": low, "high": high})


def table(default: Any, doc: str) -> Any:
    """Declare a sub-table of a section; `default` None means that it may be absent.

    A class with `from_toml(content) -> (value, problems)` and `toml_lines()` has keys of the user's choice.
    """
    factory = (lambda: None) if default is None else default
    return dataclasses.field(default_factory=factory, metadata={"doc": doc, "table": True})


def guests(registry: Registry[Any], used: Callable[[Any], Iterable[str]]) -> Any:
    """Declare the field `guests`: tables of a section that plug-ins bring along, {name of the entry: its settings}.

    In TOML they are tables like all others. It holds those that the file has; `tables` adds the defaults of those used.

    Args:
        registry: of entries with `settings`, the dataclass of the table or None, and `sentence`, its description.
        used: the names of the entries that a section makes use of.
    """
    return dataclasses.field(default_factory=dict, metadata={"guests": registry, "used": used})


def fields(section: Any) -> dict[str, Any]:
    """Return the keys and tables, by name, that a section (or its dataclass) declares itself."""
    return {field.name: field for field in dataclasses.fields(section) if "guests" not in field.metadata}


def check_table(schema: Any, what: str) -> None:
    """Refuse anything but a dataclass of options; `what` is its name in the message.

    Raises:
        ConfigError: it is none, or a field of it was not made by `option`.
    """
    if not dataclasses.is_dataclass(schema):
        raise ConfigError(f"{what}: expected a dataclass, found {schema!r}")
    wrong = [name for name, field in fields(schema).items() if "choices" not in field.metadata]
    if wrong:
        raise ConfigError(f'{what}: {", ".join(wrong)}: expected config.option(default, "what it means")')


def _guests_of(section: Any) -> Any:
    """Return the metadata of a section's plug-in tables; empty if it has none."""
    return next((field.metadata for field in dataclasses.fields(section) if "guests" in field.metadata), {})


def guest(section: Any, key: str) -> Any:
    """Return the dataclass of a plug-in's table with this name in a section.

    None where there is none.
    """
    registry = _guests_of(section).get("guests", {})
    return registry[key].settings if key in registry and key not in fields(section) else None


def registered(section: Any) -> dict[str, Any]:
    """Return the entries, by name, with tables in a section (or its dataclass)."""
    registry = _guests_of(section).get("guests", {})
    return {key: entry for key, entry in registry.items() if guest(section, key) is not None}


def tables(section: Any) -> dict[str, Any]:
    """Return the plug-in tables that a section has or uses, by name, with their values or defaults."""
    names = [*getattr(section, "guests", {}), *_guests_of(section).get("used", lambda _: ())(section)]
    return {name: child(section, name) for name in dict.fromkeys(names) if guest(section, name) is not None}


def child(section: Any, key: str) -> Any:
    """Return the value of a key or table of a section or plug-in; the default if it is left out."""
    kind = guest(section, key)
    if kind is None:
        return getattr(section, key)
    return section.guests[key] if key in section.guests else kind()


def with_child(section: Section, key: str, item: Any) -> Section:
    """Return a section with a key or table (also of a plug-in) set."""
    if guest(section, key) is not None:
        key, item = "guests", {**section.guests, key: item}  # type: ignore[attr-defined]
    return dataclasses.replace(section, **{key: item})  # type: ignore[type-var]


def read(path: Path, schema: type[Section]) -> Section:
    """Read a TOML file into `schema`.

    Raises:
        ConfigError: the file is missing or not TOML, or any key is unknown, of the wrong type or out of its range;
            all problems are in the one message, each with its line. A `problems()` method of a section that is a
            dataclass adds those that concern several keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; make a run with: satori-hpc new {quoted(path.parent)}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error})") from None
    return parse(text, schema, name=str(path))


def parse(text: str, schema: type[Section], *, name: str) -> Section:
    """Parse text as `read` does; `name` is the file's name in messages.

    A schema's `begin(content, name)` is called with the content before its keys are checked.
    """
    if DEEP.search(text):
        raise ConfigError(f"{name}: keys within keys, deeper than any section; expected [section] and key = value")
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers of thousands of digits, and of brackets in brackets
        raise ConfigError(f"{name}: not valid TOML: {error}") from None
    getattr(schema, "begin", lambda content, name: None)(content, name)
    problems = Problems(f"{name}: the configuration cannot be used:", ConfigError)
    value: Section = _parse_section(content, schema, "", _lines(text), problems)
    problems.raise_any()
    return value


def override(value: Section, assignment: str) -> Section:
    """Return `value` with one key set; the value is checked when the rendered whole is parsed.

    Args:
        assignment: as "section.key = TOML value"; text needs no quotes and a list no brackets: "a, b".

    Raises:
        ConfigError: not of that form, or there is no such key.
    """
    dotted, equals, text = assignment.partition("=")
    if not equals:
        raise ConfigError(f"{assignment!r}: expected section.key=value, for instance train.epochs=10")
    key = dotted.strip()
    return _with(value, key.split("."), _typed(type(value), key, text.strip()), assignment)


def _typed(schema: type, key: str, text: str) -> Any:
    """Return the TOML value that a user means by a text, given the type of its key."""
    item = _loads(text)
    try:
        wanted = kind(schema, key)
    except KeyError:  # a table, or no key: refused, with what there is, by the caller
        return text if item is None else item
    if typing.get_origin(wanted) is tuple and not isinstance(item, list):
        item, words = _loads(f"[{text}]"), [word.strip() for word in text.split(",")]
        of_text = typing.get_args(wanted)[0] is str  # such as chromosomes, whose names may be numbers
        return words if item is None or (of_text and not all(isinstance(each, str) for each in item)) else item
    return text if item is None or (wanted is str and not isinstance(item, str)) else item


def _loads(text: str) -> Any:
    """Return the value of a TOML expression; None if it is none."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return None


def assigned(value: Any, assignments: Iterable[str]) -> dict[str, Any]:
    """Parse assignments such as "section.key = value" of existing keys into {key: TOML value}.

    Raises:
        ConfigError: not of that form, no such key, or a whole table.
    """
    found = {}
    for assignment in assignments:
        override(value, assignment)
        key, _, text = (part.strip() for part in assignment.partition("="))
        found[key] = _typed(type(value), key, text)
        if isinstance(found[key], dict):
            raise ConfigError(f"{assignment!r}: a whole table; write it into run.toml by hand")
    return found


def _with(value: Any, keys: list[str], item: Any, assignment: str) -> Any:
    known = _known(value) if dataclasses.is_dataclass(value) else []
    if keys[0] not in known:
        place = assignment.partition("=")[0].strip()
        place = place if place.endswith(keys[-1]) and len(keys) == 1 else keys[0]
        raise ConfigError(f"{assignment!r}: no key {keys[0]!r}; {_hint(place, known, 'there')}")
    inner = child(value, keys[0])
    if hasattr(inner, "from_toml"):  # keys of the user's choice: the whole table or nothing
        item, problems = inner.from_toml(item) if len(keys) == 1 and isinstance(item, dict) else (None, ["not a table"])
        if problems:
            whole = f"expected a table, such as {{{inner.toml_lines()[0]}}}" if item is None else "; ".join(problems)
            raise ConfigError(f"{assignment!r}: {whole}")
    elif len(keys) > 1:
        item = _with(inner, keys[1:], item, assignment)
    return _unchecked(value, keys[0], item)


# Keys of earlier versions, with their sections, and what they are called now.
RENAMED = {
    "model.filters": "num_filters",
    "model.width": "kernel_size",
    "model.heads": "num_heads",
    "model.head_size": "head_dim",
    "model.motif-tokens.filters": "num_filters",
    "model.motif-tokens.width": "kernel_size",
    "model.motif-tokens.heads": "num_heads",
    "train.strands": "reverse_complement",
    "train.gradient_clip": "max_grad_norm",
    "motifs.max_q": "max_match_q",
    "score.use_all": "include_mispredicted",
    "prepare.folds.elsewhere": "missing_label",
}


def _hint(place: str, known: list[str], there: str) -> str:
    """Return the cure for an unknown key, given with its sections."""
    if place in RENAMED:
        return f"it is called {RENAMED[place]} now"
    near = difflib.get_close_matches(place.rpartition(".")[2], known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known {there}: " + (", ".join(known) or "nothing")


def _known(section: Any) -> list[str]:
    """Return names of the keys and tables of a section, including those of plug-ins."""
    own = fields(section)
    registry = _guests_of(section).get("guests", {})
    return [*own, *(name for name in registry if name not in own and registry[name].settings is not None)]


def _unchecked(value: Any, key: str, item: Any) -> Any:
    if guest(value, key) is not None:
        key, item = "guests", {**value.guests, key: item}
    changed = copy.copy(value)
    object.__setattr__(changed, key, item)
    return changed


def _lines(text: str) -> dict[str, int]:
    """Return the first line of each [section] and key, as section.key."""
    found: dict[str, int] = {}
    current = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            current = header[1].strip()
            found.setdefault(current, number)
        elif key := re.match(r"\s*\"?([^\"=\s]+)\"?\s*=", line):
            found.setdefault(f"{current}.{key[1]}".strip("."), number)
    return found


def _parse_section(content: dict[str, Any], schema: type, name: str, lines: dict[str, int], problems: Problems) -> Any:
    declared, hints = fields(schema), typing.get_type_hints(schema)
    before = len(problems.found)
    where = f"[{name}] " if name else ""
    values: dict[str, Any] = {}
    of_guests: dict[str, Any] = {}
    for key, value in content.items():
        place = f"{name}.{key}".strip(".")
        line = f"line {lines[place]}: " if place in lines else ""
        field, of_guest = declared.get(key), guest(schema, key)
        if field is None and key in getattr(schema, "REMOVED", {}):
            problems.add(f"{line}{where}{key}: {schema.REMOVED[key]}")  # type: ignore[attr-defined]
        elif field is None and of_guest is None:
            known = _known(schema)
            problems.add(f"{line}{where}{key[:80]}: unknown key; {_hint(place, known, 'here')}")
        elif field is None or field.metadata.get("table"):
            inner = of_guest or _without_none(hints[key])
            if isinstance(value, dict) and hasattr(inner, "from_toml"):
                values[key], complaints = inner.from_toml(value)
                for complaint in complaints:
                    problems.add(f"[{place}] {complaint}")
            elif isinstance(value, dict):
                (of_guests if of_guest else values)[key] = _parse_section(value, inner, place, lines, problems)
            else:
                problems.add(f"{line}{where}{key}: expected a table [{key}], found {_shown(value)}")
        else:
            complaint, parsed = _parse_value(value, _without_none(hints[key]), field.metadata)
            if complaint:
                problems.add(f"{line}{where}{key} = {_shown(value)}: {complaint}")
            values[key] = parsed
    if len(problems.found) > before:
        return None
    section = schema(**values, **({"guests": of_guests} if of_guests else {}))
    if hasattr(section, "problems"):
        for complaint in section.problems():
            problems.add(f"{where}{complaint}")
    return section


def _find(schema: type, key: str) -> tuple[Any, Any]:
    """Return (type, limits) of the field that a key with its sections names, such as "model.num_filters"."""
    names = key.split(".")
    for place, name in enumerate(names):
        known = _known(schema) if dataclasses.is_dataclass(schema) else []
        if name not in known:
            raise KeyError(f"unknown key {name!r}; {_hint('.'.join(names[: place + 1]), known, 'there')}")
        field = fields(schema).get(name)
        hint = guest(schema, name) if field is None else _without_none(typing.get_type_hints(schema)[name])
        if place < len(names) - 1:
            schema = hint
        elif field is None or field.metadata.get("table"):
            raise KeyError("is a section; name one of its keys: " + ", ".join(_known(hint)))
        else:
            return hint, field.metadata
    raise AssertionError("a key has at least one part")


def kind(schema: type, key: str) -> Any:
    """Return the type of a key such as "model.num_filters".

    Raises:
        KeyError: there is no such key; lists the valid ones.
    """
    return _find(schema, key)[0]


def meaning(schema: type, key: str) -> str:
    """Return the meaning of a key such as "model.num_filters" in a few words. Raises: as `kind`."""
    return _in_brief(_find(schema, key)[1])


def complaint(schema: type, key: str, value: Any) -> str:
    """Explain why a key such as "model.num_filters" refuses a TOML value; "" if it is accepted. Raises: as `kind`."""
    return _parse_value(value, *_find(schema, key))[0]


def replace(value: Section, key: str, item: Any) -> Section:
    """Return `value` with a key such as "model.num_filters" set; it is checked when the rendered whole is parsed."""
    return _with(value, key.split("."), item, key)


def get(value: Any, key: str) -> Any:
    """Return the value of a key such as "model.num_filters"."""
    return functools.reduce(child, key.split("."), value)


def _without_none(hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _parse_value(value: Any, hint: Any, limits: Any) -> tuple[str, Any]:
    """Return (problem or '', the value in the field's type)."""
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            return "expected a list", None
        item_hint = typing.get_args(hint)[0]
        parsed = [_parse_value(item, item_hint, limits) for item in value]
        complaint = next((what for what, _ in parsed if what), "")
        return complaint, tuple(item for _, item in parsed)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "expected a number of at most 64 bits", None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(hint, type) and (not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool)):
        return f"expected {_in_words(hint)}, found {type(value).__name__}", None
    if hint is float and not (abs(value) < float("inf")):
        return "expected a finite number", None
    choices, low, high = limits.get("choices"), limits.get("low"), limits.get("high")
    if choices and value not in choices:
        return "expected one of " + ", ".join(choices), None
    if low is not None and value < low:
        return f"expected at least {low}", None
    if high is not None and value > high:
        return f"expected at most {high}", None
    return "", value


def _shown(value: Any) -> str:
    """Format a value for messages, shortened if it is long."""
    try:
        text = repr(value)
    except ValueError:  # of thousands of digits
        text = "a long number"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _in_words(hint: type) -> str:
    return {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}[hint]


def render(value: Any, *, skip: tuple[str, ...] = (), always: Collection[str] | None = None) -> str:
    """Return the commented TOML text of a configuration, or with brief comments of a part of it.

    Args:
        value: the configuration.
        skip: top-level sections to leave out.
        always: keys, with their sections, to write beside those that differ from their defaults and the tables of
            plug-ins; None: all keys.
    """
    return "\n".join(_section_lines(value, "", skip, always)).strip() + "\n"


def _section_lines(value: Any, name: str, skip: tuple[str, ...], always: Collection[str] | None) -> list[str]:
    lines: list[str] = []
    inner: list[tuple[str, str, Any, Any]] = []  # key, meaning, value, value by default
    for field in fields(value).values():
        item, key = getattr(value, field.name), f"{name}.{field.name}".strip(".")
        if field.metadata.get("table"):
            if item is not None and field.name not in skip:
                inner.append((key, field.metadata["doc"], item, field.default_factory()))
        elif always is None:
            lines += textwrap.wrap(_comment(field), 110, initial_indent="# ", subsequent_indent="# ")
            lines.append(f"# {field.name} =" if item is None else f"{field.name} = {to_toml(item)}")
        elif item != field.default or (key in always and item is not None):
            lines.append(f"{field.name} = {to_toml(item)}  # {_in_brief(field.metadata)}")
    registry = _guests_of(value).get("guests", {})
    inner += [(f"{name}.{key}", registry[key].sentence, item, type(item)()) for key, item in tables(value).items()]
    for key, doc, item, default in inner:
        if hasattr(item, "toml_lines"):
            content = item.toml_lines() if always is None or item != default else []
        else:
            of_plugin = not type(item).__module__.startswith("satori_hpc.")
            content = _section_lines(item, key, (), None if of_plugin else always)
        if content or default is None or always is None:  # one that is there only when asked for has its heading
            # Not above the heading: there it would end the section before, and keys that are added come after it.
            lines += ["", f"[{key}]  # {doc}", *content]
    return lines


def _in_brief(limits: Any) -> str:
    """Return the choices of a key, or else the beginning of its meaning."""
    return " | ".join(limits["choices"]) or textwrap.shorten(limits["doc"], 80, placeholder=" ...")


def _comment(field: Any) -> str:
    doc: str = field.metadata["doc"]
    choices = field.metadata.get("choices")
    return f"{doc} ({' | '.join(choices)})" if choices else doc


def to_toml(value: Any) -> str:
    """Format one value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple | list):
        return "[" + ", ".join(to_toml(item) for item in value) + "]"
    return repr(value)


def to_plain(value: Any) -> Any:
    """Return a configuration, or part of one, as JSON-able dictionaries and lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = {key: to_plain(getattr(value, key)) for key in fields(value)}
        return {**own, **{key: to_plain(item) for key, item in tables(value).items()}}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


def from_plain(plain: dict[str, Any], schema: type[Section], *, name: str) -> Section:
    """Build the dataclass from the output of `to_plain`; `name` is the section's name in messages.

    Raises:
        ConfigError: as `read`.
    """
    problems = Problems(f"[{name}] cannot be used:", ConfigError)
    there = {key: value for key, value in plain.items() if value is not None}
    value: Section = _parse_section(there, schema, name, {}, problems)
    problems.raise_any()
    return value


def digest(value: Any) -> str:
    """Return SHA-256 of a configuration or of any JSON-able value, independent of key order."""
    return hashlib.sha256(json.dumps(to_plain(value), sort_keys=True).encode()).hexdigest()
