"""Write docs/options.md from the declarations in satori_hpc.config. Run: python docs/make_options.py"""

import typing
from pathlib import Path
from typing import Any

from satori_hpc.config import Config, Model, toml
from satori_hpc.run import new

PATH = Path(__file__).with_name("options.md")
HEAD = """\
# Options of run.toml

Made by `python docs/make_options.py` from `satori_hpc/config/`; do not edit.

`run.toml` holds the scientific settings of a run, one section per stage. `satori-hpc new` writes what differs from the
defaults and what a user decides; a key that is left out takes its default. `satori-hpc set RUN` prints all keys of a
run, `satori-hpc set RUN reduce.alpha=0.01` sets one. Unknown keys, wrong types and values out of range are all reported
at once, each with its line. Changing a key makes the stages that depend on its section stale, and all that was made
from them; changing `seed` makes everything stale. How many threads and which device are options of the commands:
`satori-hpc STAGE --help`.

Methods, models and sources of plug-ins ([architecture](architecture.md#doors)) have their own tables of the same kind,
`[score.<name>]`, `[model.<name>]` and `[prepare.<name>]`.
"""
TYPES = {int: "whole number", float: "number", str: "text", bool: "true, false"}


def render() -> str:
    """Return the text of docs/options.md."""
    return "\n".join([HEAD, *_section("", Config, "The whole file."), *_presets()]).rstrip() + "\n"


def _section(name: str, schema: Any, doc: str, default: Any = None) -> list[str]:
    """Return the table of a section, then those of the sections in it."""
    if hasattr(schema, "toml_lines"):  # keys of the user's choice
        return [f"## [{name}]", "", doc + " Default:", "", "```toml", *default.toml_lines(), "```"]
    hints = typing.get_type_hints(schema)
    lines = [f"## {f'[{name}]' if name else 'Top of the file'}", "", doc, ""]
    lines += ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    inner: list[str] = []
    for field in toml.fields(schema).values():
        kind = _without_none(hints[field.name])
        if field.metadata.get("table"):
            inner_name = f"{name}.{field.name}".strip(".")
            inner += ["", *_section(inner_name, kind, field.metadata["doc"], field.default_factory())]
            continue
        shown = "left out" if field.default is None else f"`{toml.to_toml(field.default)}`"
        cells = [f"`{field.name}`", shown, _allowed(kind, field.metadata), field.metadata["doc"]]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    for key, entry in toml.registered(schema).items():  # tables that model families of the package bring along
        if entry.settings.__module__.startswith("satori_hpc."):
            inner += ["", *_section(f"{name}.{key}", entry.settings, entry.sentence)]
    if len(lines) == 6:
        lines = lines[:4]
    return lines + inner


def _without_none(hint: Any) -> Any:
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    return parts[0] if len(parts) == 1 and typing.get_origin(hint) is not tuple else hint


def _allowed(kind: Any, limits: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return "list of: " + _allowed(typing.get_args(kind)[0], limits)
    if limits["choices"]:
        return ", ".join(f"`{choice}`" for choice in limits["choices"])
    low, high = limits["low"], limits["high"]
    if low is not None and high is not None:
        return f"{TYPES[kind]}, {low} to {high}"
    return TYPES[kind] if low is None else f"{TYPES[kind]}, at least {low}"


def _presets() -> list[str]:
    """Return the keys that the presets of `satori-hpc new` set."""
    lines = ["", "## Presets", "", "`satori-hpc new RUN --preset NAME` differs from the defaults in these keys:", ""]
    lines += ["| preset | keys that differ |", "|---|---|"]
    default = toml.to_plain(Config())
    default["model"] |= {key: toml.to_plain(entry.settings()) for key, entry in toml.registered(Model).items()}
    makers = new.PRESETS | {name: entry.make for name, entry in new.FILE_PRESETS.items()}
    for name, make in makers.items():
        changes = ", ".join(
            f"`{key} = {toml.to_toml(value)}`" for key, value in _differences(default, toml.to_plain(make()))
        )
        lines.append(f"| `{name}` | {changes or 'none'} |")
    return lines


def _differences(default: Any, value: Any, name: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [] if default == value else [(name, value)]
    default = default or {}  # the table of another data source
    return [found for key in value for found in _differences(default.get(key), value[key], f"{name}.{key}".strip("."))]


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
    print(f"wrote {PATH}")
