"""Files of peaks and the labels that they, or a column of them, tell."""

from pathlib import Path

import numpy as np

from satori_hpc.config import Genome as Settings
from satori_hpc.core import windows
from satori_hpc.errors import InputError
from satori_hpc.log import progress
from satori_hpc.run import Run
from satori_hpc.stores import peaks


def files(run: Run, settings: Settings) -> list[tuple[Path, str]]:
    """The files of peaks, each with its label, which is empty where a column tells the labels."""
    if settings.peak_table is None:
        if settings.label_column is not None:
            return [(run.resolve(name), "") for name in settings.peaks]
        named = peaks.named(list(settings.peaks), settings.peak_labels, key="[prepare.genome] peaks")
        return [(run.resolve(name), label) for name, label in named]
    table = run.resolve(settings.peak_table)
    # Files in a table are found from where the table lies, so that both can be moved together.
    found = peaks.read_list(table, key="[prepare.genome] peak_table")
    return [((table.parent / Path(name).expanduser()).resolve(), label) for name, label in found]


def numbered(files: list[tuple[Path, str]], settings: Settings, key: str) -> tuple[list[str], dict[str, int]]:
    """Names of all labels, of files in their order, of a column sorted, as numbers when all are; and their numbers.

    Spreadsheets write 0 as 000 where they take a list for a number with thousands: numbers are compared as numbers.
    """
    if settings.label_column is None:
        labels = list(dict.fromkeys(label for _, label in files))
        return labels, {label: number for number, label in enumerate(labels)}
    names: set[str] = set()
    for path, _ in progress(files, what="labels", unit="file"):
        names |= peaks.label_names(path, key=key, label_column=settings.label_column)
    if not names:
        raise InputError(f"{files[0][0]}: no row has a label; correct [prepare.genome] label_column in run.toml")
    if not all(name.isdecimal() for name in names):
        labels = sorted(names)
        return labels, {label: number for number, label in enumerate(labels)}
    places = {value: number for number, value in enumerate(sorted({int(name) for name in names}))}
    return [str(value) for value in places], {name: places[int(name)] for name in names}


def words_of(labels: list[str]) -> int:
    """Words that hold a bit per label."""
    return -(-len(labels) // windows.WORD)


def bits(labels: list[tuple[str, ...]], numbers: dict[str, int], words: int) -> np.ndarray:
    """Bits (n, words) of label names."""
    found = np.zeros((len(labels), words), dtype=np.uint64)
    places = np.array([row for row, names in enumerate(labels) for _ in names], dtype=np.int64)
    ids = np.array([numbers[name] for names in labels for name in names], dtype=np.int64)
    single = np.uint64(1) << (ids % windows.WORD).astype(np.uint64)
    np.bitwise_or.at(found, (places, ids // windows.WORD), single)
    return found
