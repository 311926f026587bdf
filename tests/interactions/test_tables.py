from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from satori_hpc.errors import ArtefactError
from satori_hpc.interactions import tables


def columns(rows: int = 2) -> dict[str, object]:
    made: dict[str, object] = {}
    for name, (kind, _) in tables.COLUMNS.items():
        text = np.array(["a\tb\nc", ""][:rows], dtype=object)
        made[name] = text if str(kind) == "string" else np.array([1, 0][:rows]).astype(kind.to_pandas_dtype())
    return made


def test_tables_come_back_and_both_forms_agree(tmp_path: Path) -> None:
    path = tmp_path / "interactions" / "attention"
    values = {**columns(), "p": np.array([0.1 + 0.2, np.nan])}
    tables.write(path, values)
    back = tables.read(path)
    assert list(back.columns) == list(tables.COLUMNS)
    assert back["tf_a"].tolist() == ["a\tb\nc", ""]
    assert back["p"].tolist()[0] == 0.1 + 0.2
    lines = Path(f"{path}.tsv").read_text().splitlines()
    assert len(lines) == 3
    assert lines[0].split("\t") == list(tables.COLUMNS)
    assert lines[1].split("\t")[2] == "a\\tb\\nc"
    assert lines[1].split("\t")[list(tables.COLUMNS).index("p")] == repr(0.1 + 0.2)
    schema = pq.read_schema(f"{path}.parquet")
    assert schema.field("auc").metadata[b"meaning"].decode() == tables.COLUMNS["auc"][1]


def test_empty_tables_keep_their_columns(tmp_path: Path) -> None:
    tables.write_tf(tmp_path / "m", {name: [] for name in tables.TF_COLUMNS})
    assert tables.read_tf(tmp_path / "m").empty
    assert Path(tmp_path / "m.tf.tsv").read_text().split() == list(tables.TF_COLUMNS)


def test_a_table_of_an_older_program_is_refused_with_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tables, "FORMAT_VERSION", 2)
        tables.write_tf(tmp_path / "run" / "interactions" / "m", {name: [] for name in tables.TF_COLUMNS})
    with pytest.raises(
        ArtefactError, match=rf"version 5 .*; found version 2 .*: satori-hpc reduce {tmp_path / 'run'} --f"
    ):
        tables.read_tf(tmp_path / "run" / "interactions" / "m")


def test_missing_damaged_and_foreign_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="satori-hpc reduce"):
        tables.read(tmp_path / "m")
    (tmp_path / "m.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ArtefactError, match="cannot be read"):
        tables.read(tmp_path / "m")
    tables.write(tmp_path / "m", columns())
    (tmp_path / "n.tf.parquet").write_bytes((tmp_path / "m.parquet").read_bytes())
    with pytest.raises(ArtefactError, match="with the columns"):
        tables.read_tf(tmp_path / "n")
