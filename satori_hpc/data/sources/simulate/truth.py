"""Read and write truth/: the implanted motifs and pairs of a simulated set, for `evaluate` and the report only.

pairs.tsv    tf_a, tf_b, role: all pairs of the pool, names sorted within the row; pair_id is the row, from 0. Role:
             true = they interact; decoy = as close together as true pairs and at least as often; other
truth.tsv    seq_id, tf, start, end, strand, site, pair_id: one row per instance; start is 0-based, end is beyond
             the last letter; `site` is what the sequence reads there, on its own (+) strand; pair_id: -1 = alone
seqs.fa      the sequences, headers `>sim<k>:0-<length>(+)`; k is the row of the data set
motifs.meme  the pool
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from satori_hpc.data import sequence
from satori_hpc.data.sources.simulate.implant import Instances
from satori_hpc.data.sources.simulate.pool import ROLES, Pairs
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.motifs import readers
from satori_hpc.motifs.motif import Motif
from satori_hpc.run import files

PAIR_COLUMNS = ("tf_a", "tf_b", "role")
INSTANCE_COLUMNS = ("seq_id", "tf", "start", "end", "strand", "site", "pair_id")


def sequence_id(example: int) -> str:
    """Return `seq_id` of an example; also its chromosome in the data set."""
    return f"sim{example}"


def header(example: int, length: int) -> str:
    """Return FASTA header of a simulated example, without ">"; also its name in the data set."""
    return f"{sequence_id(example)}:0-{length}(+)"


def write(
    folder: Path,
    pool: Sequence[Motif],
    *,
    pairs: Pairs,
    tokens: np.ndarray,
    instances: Instances,
    background: Sequence[float],
) -> None:
    """Write all four files into `folder`, which appears whole or not at all.

    Args:
        folder: truth/ of a run.
        pool: the motifs that were implanted.
        pairs: of motifs of the pool, by role.
        tokens: uint8 (examples, length).
        instances: what was implanted where.
        background: frequencies of A, C, G, T around the motifs.
    """
    names = [motif.name for motif in pool]
    with files.atomic_folder(folder) as partial:
        rows = [
            "\t".join([*sorted((names[a], names[b])), role])
            for (a, b), role in zip(pairs.all.tolist(), pairs.roles, strict=True)
        ]
        _write_lines(partial / "pairs.tsv", ["\t".join(PAIR_COLUMNS), *rows])
        _write_lines(partial / "truth.tsv", ["\t".join(INSTANCE_COLUMNS), *_instance_rows(names, tokens, instances)])
        length = tokens.shape[1]
        _write_lines(
            partial / "seqs.fa",
            [f">{header(example, length)}\n{sequence.decode(row)}" for example, row in enumerate(tokens)],
        )
        readers.write_meme(partial / "motifs.meme", list(pool), np.asarray(background, dtype=np.float64))


def _instance_rows(names: list[str], tokens: np.ndarray, instances: Instances) -> list[str]:
    columns = (instances.example, instances.tf, instances.start, instances.end, instances.strand, instances.pair)
    return [
        f"{sequence_id(example)}\t{names[tf]}\t{start}\t{end}\t{'+' if strand > 0 else '-'}\t"
        f"{sequence.decode(tokens[example, start:end])}\t{pair}"
        for example, tf, start, end, strand, pair in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _write_lines(path: Path, lines: list[str]) -> None:
    files.write_text(path, "\n".join(lines) + "\n")


def read_pairs(folder: Path, role: str = "true") -> list[tuple[str, str]]:
    """Return the pairs of a role, in the order of their pair_id.

    Names sorted within the pair. Those that interact: "true".

    Raises:
        ArtefactError: the file is missing or not a list of pairs with roles.
    """
    path = folder / "pairs.tsv"
    table = _read_table(path, PAIR_COLUMNS)
    strange = sorted(set(table["role"]) - set(ROLES))
    if strange:
        raise ArtefactError(f"{path}: expected roles {', '.join(ROLES)}, found {strange[0][:60]!r}; {_mend(folder)}")
    table = table[table["role"] == role]
    return list(zip(table["tf_a"].tolist(), table["tf_b"].tolist(), strict=True))


def read_pool(folder: Path) -> list[Motif]:
    """Return the implanted motifs, sorted by TF name.

    Raises:
        ArtefactError: the file is missing.
    """
    path = folder / "motifs.meme"
    if not path.exists():
        raise _missing(path)
    return readers.read_meme(path)[0]


def read_instances(folder: Path) -> pd.DataFrame:
    """Read every instance: the columns of truth.tsv and `example`, the row of the data set.

    Raises:
        ArtefactError: the file is missing or not a list of instances.
    """
    table = _read_table(folder / "truth.tsv", INSTANCE_COLUMNS)
    try:
        table = table.astype({"start": np.int64, "end": np.int64, "pair_id": np.int64})
        table["example"] = table["seq_id"].str.removeprefix("sim").astype(np.int64)
    except ValueError as error:
        raise ArtefactError(f"{folder / 'truth.tsv'}: damaged ({error}); {_mend(folder)}") from None
    return table


def _read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    if not path.exists():
        raise _missing(path)
    # A TF may be called NA or nan: no value is "missing" here.
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=3)
    if tuple(table.columns) != columns:
        found = ", ".join(map(str, table.columns))[:200]
        raise ArtefactError(f"{path}: expected the columns {', '.join(columns)}, found {found}; {_mend(path.parent)}")
    return table


def _missing(path: Path) -> ArtefactError:
    return ArtefactError(f"{path}: missing; only simulated runs have a truth; {_mend(path.parent)}")


def _mend(folder: Path) -> str:
    return f"make it with: satori-hpc prepare {quoted(folder.parent)}"
