"""Store finished blocks of the reduction in interactions/<method>.parts/, one Parquet file per block of pairs.

`parts.json` identifies the task: a digest of the scores and of everything that affects the numbers. Each part
carries the same digest, so that a worker which outlived its command cannot add a wrong part, and its own content
digest at its end. A killed reduction resumes with the complete parts of its digest; the folder
goes when the tables are written.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from satori_hpc.errors import ArtefactError
from satori_hpc.run import files, parquet, sealed

FORMAT_VERSION = 2


def prepare(folder: Path, *, digest: str, rows: list[int]) -> list[int]:
    """Make the folder, or keep it with its parts when it is of the same digest; the blocks that are to be done.

    Args:
        folder: of the parts.
        digest: of the work.
        rows: pairs of each block.
    """
    head = {"format_version": FORMAT_VERSION, "digest": digest}
    if _head(folder) != head:
        with files.atomic_folder(folder) as partial:
            sealed.write_json(partial / "parts.json", head)
    files.sweep_partials(folder)
    return [block for block, size in enumerate(rows) if _read(folder, block, digest=digest, rows=size) is None]


def write(folder: Path, block: int, columns: dict[str, np.ndarray], *, digest: str) -> None:
    """Write a part, atomically."""
    table = pa.table(columns).replace_schema_metadata({"satori_hpc_digest": digest})
    parquet.write_table(_path(folder, block), table)


def merge(folder: Path, *, digest: str, rows: list[int], numbers: list[int] | None = None) -> dict[str, np.ndarray]:
    """Return the columns of all parts, or of those of some numbers, in their order.

    Raises:
        ArtefactError: parts are missing, damaged or of another digest.
    """
    wanted = range(len(rows)) if numbers is None else numbers
    found = [_read(folder, block, digest=digest, rows=rows[block]) for block in wanted]
    bad = [_path(folder, block).name for block, table in zip(wanted, found, strict=True) if table is None]
    if bad:
        raise ArtefactError(
            f"{folder}: {len(bad)} of {len(found)} parts are missing or damaged: {', '.join(bad[:5])}"
            f"{' ...' if len(bad) > 5 else ''}; run the same command again, it goes on with the others"
        )
    table = pa.concat_tables([part for part in found if part is not None])
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _read(folder: Path, block: int, *, digest: str, rows: int) -> pa.Table | None:
    """Return a part, or None if there is no usable one."""
    try:
        table = parquet.read_table(_path(folder, block))
    except (FileNotFoundError, ArtefactError):
        return None
    same = (table.schema.metadata or {}).get(b"satori_hpc_digest") == digest.encode()
    return table if same and table.num_rows == rows else None


def _head(folder: Path) -> object:
    try:
        return sealed.read_json(folder / "parts.json", version=FORMAT_VERSION, mend=f"remove {folder}")
    except (FileNotFoundError, ArtefactError):
        return None


def _path(folder: Path, block: int) -> Path:
    return folder / f"block-{block:05d}.part"
