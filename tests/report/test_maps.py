"""inspect/<row>.npz: what goes in comes out, and nothing else is taken for it."""

import numpy as np
import pytest

from satori_hpc.errors import ArtefactError
from satori_hpc.report import inspect

SIZES = {"position": 20, "target": 2, "output": 2, "filter": 5, "head": 2, "bin": 5, "site": 3}


@pytest.fixture
def arrays():
    random = np.random.default_rng(1)
    made = {}
    for name, (kind, dimensions) in inspect.layout().items():
        shape = tuple(SIZES[dimension] for dimension in dimensions)
        values = random.normal(0, 9, shape)
        made[name] = np.array(values).astype(np.str_ if kind == "str" else kind)
    del made["format_version"]
    made["name"], made["dfim"][0, 0] = "chr1:5-25(+) <é>", np.nan
    return made


def test_what_goes_in_comes_out_without_pickles(tmp_path, arrays):
    path = tmp_path / "inspect" / "7.npz"
    inspect.write(path, **arrays)
    found = inspect.read(path)
    assert list(found) == list(inspect.layout())
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype.kind != "O"
    assert list(path.parent.iterdir()) == [path]
    first = path.read_bytes()
    inspect.write(path, **arrays)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dfim": np.zeros((3, 3))}, "dfim: expected float32"),
        ({"dfim": np.zeros(3, dtype=np.float32)}, "dfim: expected float32"),
        ({"filter_name": np.array(["a", None], dtype=object)}, "filter_name: expected str"),
        ({"unknown": 1}, "expected the arrays"),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, change, message):
    with pytest.raises(ValueError, match=message):
        inspect.write(tmp_path / "7.npz", **{**arrays, **change})
    assert list(tmp_path.iterdir()) == []


def test_damage_and_other_versions_are_told(tmp_path, arrays):
    path = tmp_path / "7.npz"
    with pytest.raises(ArtefactError, match="satori-hpc inspect"):
        inspect.read(path)
    inspect.write(path, **arrays)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ArtefactError, match="no maps that can be read"):
        inspect.read(path)
    np.savez(path, **{**arrays, "format_version": 99})
    with pytest.raises(ArtefactError, match="format version 99"):
        inspect.read(path)
    np.savez(path, format_version=np.array(inspect.FORMAT_VERSION), name=np.array({"a": 1}, dtype=object))
    with pytest.raises(ArtefactError, match="no maps that can be read"):  # never unpickled
        inspect.read(path)
