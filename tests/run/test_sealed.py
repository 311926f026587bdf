"""Files that carry their own digest: each changed byte is one error, and nothing of it is believed."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from satori_hpc.errors import ArtefactError
from satori_hpc.interactions import parts
from satori_hpc.run import parquet, sealed

CONTENT = {"format_version": 3, "names": ["a", '\u03b2 "x"\n'], "value": 0.1, "none": None, "inner": {"k": [1, 2]}}


def changed(content: bytes) -> list[bytes]:
    """Each byte flipped in one bit; some bytes lost; some more."""
    flips = [content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :] for at in range(len(content))]
    return [*flips, b"", content[:-1], content[1:], content + b"\n", content + content, b"\xff" + content]


@pytest.mark.parametrize("layout", [{}, {"indent": None}, {"sort_keys": True}])
def test_json_comes_back_and_any_changed_byte_is_one_error(tmp_path: Path, layout: dict[str, object]) -> None:
    path = tmp_path / "a.json"
    sealed.write_json(path, CONTENT, **layout)
    assert sealed.read_json(path, version=3, mend="make it") == CONTENT
    told = json.loads(path.read_text())
    assert list(told)[-1] == "sha256"
    for damaged in changed(path.read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(ArtefactError, match=re.escape(f"{path}: ") + "(damaged|format version).*; make it$"):
            sealed.read_json(path, version=3, mend="make it")


@pytest.mark.parametrize(
    "text", ["[]", "7", "null", '"format_version"', "{}", '{"format_version": "3"}', "[" * 100_000]
)
def test_json_of_other_kinds_is_the_same_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ArtefactError, match="damaged .not as it was written.; make it$"):
        sealed.read_json(tmp_path / "a.json", version=3, mend="make it")


def test_another_version_is_told_with_or_without_a_digest(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    sealed.write_json(path, {**CONTENT, "format_version": 4})
    with pytest.raises(ArtefactError, match="format version 4, this program reads 3; ask somebody"):
        sealed.read_json(path, version=3, mend="make it", outdated="ask somebody")
    path.write_text('{"format_version": 2}')
    with pytest.raises(ArtefactError, match="format version 2, this program reads 3; make it"):
        sealed.read_json(path, version=3, mend="make it")


def test_what_is_not_there_or_is_a_folder_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sealed.read_json(tmp_path / "a.json", version=3, mend="make it")
    with pytest.raises(FileNotFoundError):
        sealed.read_bytes(tmp_path / "a", mend="make it")
    with pytest.raises(ArtefactError, match=r"cannot be read \(Is a directory\); make it"):
        sealed.read_bytes(tmp_path, mend="make it")


def test_bytes_come_back_and_any_changed_byte_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a"
    sealed.write_bytes(path, bytes(range(256)))
    assert bytes(sealed.read_bytes(path, mend="make it")) == bytes(range(256))
    for damaged in changed(path.read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(ArtefactError, match="SHA-256 of what stands before it.; make it$"):
            sealed.read_bytes(path, mend="make it")


def test_blocks_of_a_reduction_that_have_changed_are_done_again(tmp_path: Path) -> None:
    rows, folder = [3, 2], tmp_path / "attention.parts"
    assert parts.prepare(folder, digest="d", rows=rows) == [0, 1]
    for block, size in enumerate(rows):
        parts.write(folder, block, {"p": np.arange(size) / 7}, digest="d")
    assert parts.prepare(folder, digest="d", rows=rows) == []
    first = sorted(folder.glob("*.part"))[0]
    content = first.read_bytes()
    for at in range(0, len(content), 5):
        first.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert parts.prepare(folder, digest="d", rows=rows) == [0], at
        with pytest.raises(ArtefactError, match="1 of 2 parts are missing or damaged: block-00000"):
            parts.merge(folder, digest="d", rows=rows)
    first.write_bytes(content)
    head = (folder / "parts.json").read_bytes()
    (folder / "parts.json").write_bytes(head.replace(b'"d"', b'"e"'))
    assert parts.prepare(folder, digest="e", rows=rows) == [0, 1], "all anew"


def test_a_table_comes_back_with_what_was_asked_for(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    parquet.write_table(tmp_path / "block.part", table, use_dictionary=False)
    assert parquet.read_table(tmp_path / "block.part", columns=["b"]).to_pydict() == {"b": ["x", "y"]}
