import errno

import numpy as np
import pytest
import zarr

from satori_hpc.errors import ArtefactError, SatoriError
from satori_hpc.training import predictions


def test_round_trip(tmp_path):
    logits = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    probability = logits[:, :1]
    predictions.write(tmp_path / "predictions.zarr", logits, probability, targets=["a"])
    found = predictions.read(tmp_path / "predictions.zarr")
    np.testing.assert_array_equal(found[0], logits)
    np.testing.assert_array_equal(found[1], probability)
    assert found[0].dtype == found[1].dtype == np.float32


def test_missing_foreign_damaged_and_other_versions_are_refused(tmp_path):
    path = tmp_path / "predictions.zarr"
    with pytest.raises(ArtefactError, match="satori-hpc train"):
        predictions.read(path)
    path.mkdir()
    with pytest.raises(ArtefactError, match="satori-hpc train"):
        predictions.read(path)
    path.rmdir()
    predictions.write(path, np.zeros((3, 1)), np.zeros((3, 1)), targets=["a"])
    group = zarr.open_group(path, mode="r+")
    group.attrs["format_version"] = 99
    with pytest.raises(ArtefactError, match="99"):
        predictions.read(path)
    predictions.write(path, np.zeros((3, 1)), np.zeros((3, 1)), targets=["a"])
    zarr.open_group(path, mode="r+").create_array("probability", data=np.zeros((2, 1)), overwrite=True)
    with pytest.raises(ArtefactError, match="do not match"):
        predictions.read(path)


def test_some_rows_are_read_as_they_are_asked_for(tmp_path):
    path = tmp_path / "predictions.zarr"
    probability = np.random.default_rng(0).random((500, 3)).astype(np.float32)
    predictions.write(path, probability, probability, targets=["a", "b", "c"])
    some = predictions.probability(path)
    assert len(some) == 500
    for rows in ([0], [3, 4, 5], [1, 250, 499], [499, 2, 2, 80], []):
        np.testing.assert_array_equal(some[np.array(rows, dtype=np.int64)], probability[rows])
    np.testing.assert_array_equal(predictions.read_logits(path, np.array([7, 3]), slice(1, 3)), probability[[7, 3], 1:])
    (path / "probability" / "zarr.json").unlink()
    with pytest.raises(ArtefactError, match="satori-hpc train"):
        some[np.array([1])]


def test_written_some_at_a_time_they_are_the_same_and_a_killed_writer_is_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "BLOCK", 100)
    values = np.random.default_rng(1).normal(size=(250, 3)).astype(np.float32)
    predictions.write(tmp_path / "whole", values, values[:, 1:], targets=["a", "b"])
    path, parts = tmp_path / "predictions.zarr", tmp_path / "predictions.parts"

    def writer(key: str) -> predictions.Writer:
        return predictions.Writer(path, parts, key=key, examples=250, outputs=3, targets=["a", "b"])

    def add(written: predictions.Writer, first: int, last: int, shown: np.ndarray) -> None:
        for start in range(first, last, 50):
            rows = slice(start, start + 50)
            written.add(rows, shown[rows], shown[rows, 1:])

    assert writer("other").begin() == 0
    add(writer("other"), 0, 100, -values)
    assert writer("other").begin() == 100
    written = writer("this")
    assert written.begin() == 0
    add(written, 0, 150, values)
    (parts / "logits" / "c.1234.partial").touch()  # as a killed write leaves it
    again = writer("this")
    assert again.begin() == 150
    add(again, 150, 250, values)
    assert not path.exists()
    again.publish()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["predictions.zarr", "whole"]
    files = [sorted(file.relative_to(top) for file in top.rglob("*")) for top in (tmp_path / "whole", path)]
    assert files[0] == files[1]
    for name in files[0]:
        assert (path / name).is_dir() or (path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    "left", ["not JSON", '{"zarr_format": 3, "node_type": "group", "attributes": {"key": "this"}}']
)
def test_damaged_parts_are_made_anew(tmp_path, left):
    parts = tmp_path / "predictions.parts"
    parts.mkdir()
    (parts / "zarr.json").write_text(left)
    written = predictions.Writer(tmp_path / "p", parts, key="this", examples=2, outputs=1, targets=["a"])
    assert written.begin() == 0
    written.add(slice(0, 2), np.ones((2, 1)), np.ones((2, 1)))
    written.publish()
    np.testing.assert_array_equal(predictions.read(tmp_path / "p")[0], 1)


def test_parts_in_which_a_byte_has_changed_are_made_anew(tmp_path):
    parts = tmp_path / "parts"
    values = np.random.default_rng(1).normal(size=(9, 1)).astype(np.float32)
    written = predictions.Writer(tmp_path / "p", parts, key="this", examples=9, outputs=1, targets=["a"])
    written.begin()
    written.add(slice(0, 7), values[:7], values[:7])
    assert written.begin() == 7
    damaged = {"zarr.json": ('"done": 7', '"done": 8'), "logits/zarr.json": ("9,", "8,")}
    saved = {file: file.read_bytes() for file in parts.rglob("*") if file.is_file()}

    def restore() -> None:
        for file, content in saved.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    for name, (old, new) in damaged.items():
        text = (parts / name).read_text()
        assert old in text
        (parts / name).write_text(text.replace(old, new))
        assert written.begin() == 0, name
        restore()
    chunk = parts / "probability" / "c" / "0" / "0"
    for at in range(len(saved[chunk])):
        chunk.write_bytes(saved[chunk][:at] + bytes([saved[chunk][at] ^ 1]) + saved[chunk][at + 1 :])
        assert written.begin() == 0, at
        restore()
    assert written.begin() == 7


def test_a_flipped_byte_or_a_lost_chunk_is_an_error_that_names_the_array(tmp_path):
    path = tmp_path / "predictions.zarr"
    predictions.write(path, np.zeros((9, 2)), np.ones((9, 1)), targets=["a"])
    for name in ("logits", "probability"):
        chunk = path / name / "c" / "0" / "0"
        content = chunk.read_bytes()
        for at in range(len(content)):
            chunk.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises(
                ArtefactError, match=rf"predictions.zarr: damaged \({name}: .*satori-hpc train .* --force"
            ):
                predictions.read(path)
        chunk.unlink()
        with pytest.raises(ArtefactError, match=f"{name}: chunk 0 is missing"):
            predictions.read(path)
        chunk.write_bytes(content)
    predictions.read(path)


def test_parts_without_their_arrays_are_made_anew(tmp_path):
    written = predictions.Writer(tmp_path / "p", tmp_path / "parts", key="this", examples=2, outputs=1, targets=["a"])
    written.begin()
    written.add(slice(0, 1), np.ones((1, 1)), np.ones((1, 1)))
    assert written.begin() == 1
    (tmp_path / "parts" / "logits" / "zarr.json").unlink()
    assert written.begin() == 0


def test_parts_of_other_labels_are_made_anew(tmp_path):
    def writer(targets: list[str]) -> predictions.Writer:
        return predictions.Writer(
            tmp_path / "p", tmp_path / "parts", key="this", examples=2, outputs=1, targets=targets
        )

    writer(["a"]).begin()
    writer(["a"]).add(slice(0, 1), np.ones((1, 1)), np.ones((1, 1)))
    assert writer(["a"]).begin() == 1
    assert writer(["b"]).begin() == 0


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "predictions.zarr"
    predictions.write(path, np.ones((2, 1)), np.ones((2, 1)), targets=["a"])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zarr.Array, "__setitem__", full)
    with pytest.raises(SatoriError, match="predictions.zarr: No space left on device; make room"):
        predictions.write(path, np.zeros((2, 1)), np.zeros((2, 1)), targets=["a"])
    np.testing.assert_array_equal(predictions.read(path)[0], 1)
