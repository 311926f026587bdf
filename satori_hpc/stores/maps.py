"""inspect/<row>.npz: the interaction maps of one sequence, plain arrays that numpy reads without pickles."""

from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc import provenance
from satori_hpc.errors import ArtefactError
from satori_hpc.stores import atomic, sealed

FORMAT_VERSION = 1

# Array -> its kind ("str" or a dtype) and its dimensions; docs/formats.md says what they mean.
ARRAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "format_version": ("int64", ()),
    "row": ("int64", ()),
    "name": ("str", ()),
    "tokens": ("uint8", ("position",)),
    "labels": ("uint8", ("target",)),
    "logits": ("float32", ("output",)),
    "probability": ("float32", ("target",)),
    "explained": ("uint8", ("target",)),
    "filter_name": ("str", ("filter",)),
    "attention": ("float32", ("head", "cell", "cell")),
    "attention_attribution": ("float32", ("head", "cell", "cell")),
    "letter_attribution": ("float32", ("position",)),
    "dfim": ("float32", ("site", "site")),
    "dfim_start": ("int64", ("site",)),
    "dfim_filters": ("bool", ("site", "filter")),
    "epistasis": ("float32", ("site", "site")),
    "epistasis_start": ("int64", ("site",)),
    "epistasis_filters": ("bool", ("site", "filter")),
}


def write(path: Path, **arrays: Any) -> None:
    """Write the arrays of ARRAYS, all but `format_version`, in one step.

    Raises:
        ValueError: one is missing, unknown, or of another kind or shape.
    """
    content = {name: np.asarray(values) for name, values in {"format_version": FORMAT_VERSION, **arrays}.items()}
    if content.keys() != ARRAYS.keys():
        raise ValueError(f"expected the arrays {list(ARRAYS)}, found {list(content)}")
    for name, (kind, dimensions) in ARRAYS.items():
        found = content[name]
        if _kind(found) != kind or found.ndim != len(dimensions):
            raise ValueError(f"{name}: expected {kind} {dimensions}, found {found.dtype} {found.shape}")
    with atomic.atomic_file(path) as partial, open(partial, "wb") as handle:
        # No pickles: no array of ARRAYS is of objects.
        np.savez_compressed(handle, **{name: content[name] for name in ARRAYS})  # type: ignore[arg-type]


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of ARRAYS by name.

    Raises:
        ArtefactError: the file is missing, damaged, or of another format version.
    """
    mend = "make it: satori-hpc inspect RUN EXAMPLE"
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
    except Exception as error:  # numpy, zipfile and zlib each have their own
        raise ArtefactError(f"{path}: no maps that can be read ({type(error).__name__}: {error}); {mend}") from None
    version = int(content.get("format_version", -1))
    if version != FORMAT_VERSION:
        raise ArtefactError(f"{path}: format version {version}, this program reads {FORMAT_VERSION}; {mend}")
    if content.keys() != ARRAYS.keys():
        raise ArtefactError(f"{path}: arrays {sorted(content)}, expected {sorted(ARRAYS)}; {mend}")
    return content


def seal(folder: Path, row: int, *, example: str, inputs: dict[str, str]) -> None:
    """Write <row>.json: what the page and the maps of a sequence are of, with their digests.

    Args:
        folder: of both.
        row: of the sequence.
        example: its name.
        inputs: digests of the stages that they were made from.
    """
    files = {path.name: provenance.entry(path) for path in (folder / f"{row}.html", folder / f"{row}.npz")}
    content = {"format_version": FORMAT_VERSION, "example": example, "inputs": inputs, "files": files}
    sealed.write_json(folder / f"{row}.json", content)


def read_seal(path: Path) -> dict[str, Any]:
    """What `seal` wrote.

    Raises:
        FileNotFoundError: there is none.
        ArtefactError: it is damaged or of another format version.
    """
    return sealed.read_json(path, version=FORMAT_VERSION, mend=f"make it again: satori-hpc inspect RUN {path.stem}")


def _kind(values: np.ndarray) -> str:
    return "str" if values.dtype.kind == "U" else str(values.dtype)
