"""Tables as Parquet files that carry a digest."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from satori_hpc.errors import quoted
from satori_hpc.run import sealed


def write_table(path: Path, table: pa.Table, **options: Any) -> None:
    """Write a table atomically, as Parquet followed by a digest; `options`: of pyarrow."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", **options)
    sealed.write_bytes(path, buffer.getbuffer())


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a table written by `write_table`.

    Raises:
        FileNotFoundError: there is none.
        ArtefactError: it is not as it was written.
    """
    content = sealed.read_bytes(path, mend=f"remove it: rm {quoted(path)}")
    return pq.read_table(pa.BufferReader(content), columns=columns)
