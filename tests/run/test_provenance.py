"""What a record keeps of files: read once, told apart by content, and by nothing a killed writer left."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from satori_hpc.errors import ArtefactError
from satori_hpc.run import provenance


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_leftovers_and_locks_are_no_part_of_a_run(tmp_path: Path) -> None:
    for name in ("data/a", "data/.a.1234.partial", "data/.b.zarr.1234.partial/c/0", ".lock/exclusive-1.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert provenance.files_of([tmp_path]) == [tmp_path / "data" / "a"]


def test_known_files_are_not_read_again_but_measured(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"defg")
    known = {"a": {"bytes": 3, "sha256": "told"}, "elsewhere": {"bytes": 9, "sha256": "told"}}
    found = provenance.listing(tmp_path, [tmp_path], known=known)
    assert {name: (entry["bytes"], entry["sha256"]) for name, entry in found.items()} == {
        "a": (3, "told"),
        "b": (4, sha(b"defg")),
    }
    with pytest.raises(ArtefactError, match=r"a: expected 4 bytes, as were written, found 3; .*satori-hpc verify"):
        provenance.listing(tmp_path, [tmp_path], known={"a": {"bytes": 4, "sha256": "told"}})


def test_a_source_is_read_again_only_when_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sequences.fa"
    path.write_bytes(b">a\nACGT\n")
    os.utime(path, (1.0e9, 1.0e9))
    entry = provenance.source_entries({str(path): sha(path.read_bytes())}, since_ns=time.time_ns())[str(path)]
    assert entry == {"sha256": sha(b">a\nACGT\n"), "bytes": 8, "mtime_ns": 10**18}
    reads: list[Path] = []
    whole = provenance.file_digest
    monkeypatch.setattr(provenance, "file_digest", lambda path: reads.append(path) or whole(path))
    assert not provenance.source_changed(path, entry)
    assert not reads
    os.utime(path)
    assert not provenance.source_changed(path, entry)
    assert reads == [path]
    path.write_bytes(b">a\nACGA\n")
    assert provenance.source_changed(path, entry)
    path.unlink()
    assert not provenance.source_changed(path, entry), "the run does not need it any more"


def test_a_source_edited_while_it_was_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(b"new")
    entry = provenance.source_entries({str(path): sha(b"old")}, since_ns=time.time_ns() - 10**9)[str(path)]
    assert provenance.source_changed(path, entry)
    gone = provenance.source_entries({str(tmp_path / "gone"): sha(b"old")}, since_ns=0)[str(tmp_path / "gone")]
    (tmp_path / "gone").write_bytes(b"")
    assert provenance.source_changed(tmp_path / "gone", gone)
