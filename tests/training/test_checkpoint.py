"""Checkpoints: what is read back is what was written, and nothing else is ever run or believed."""

import io
import os
import pickle
from pathlib import Path

import pytest
import torch

from satori_hpc import models
from satori_hpc.config import Model
from satori_hpc.errors import ArtefactError
from satori_hpc.run import sealed
from satori_hpc.training import checkpoint
from satori_hpc.training.checkpoint import CheckpointInfo

CONFIG = Model(
    architecture="deep", num_filters=6, kernel_size=5, num_heads=2, head_dim=4, block_widths=(6, 7), recurrent=True
)


def written(path: Path, **change: object) -> models.Satori:
    info = CheckpointInfo(
        config=CONFIG,
        length=40,
        targets=2,
        task="multilabel",
        entropy=1e-3,
        **{"epoch": 3, "metrics": {"valid_auroc": 0.9}, **change},
    )
    model = models.build(CONFIG, length=40, targets=2, task="multilabel", entropy=1e-3)
    checkpoint.save(path, weights=model.state_dict(), info=info)
    return model.eval()


def best_of(folder: Path) -> Path:
    return folder / "run" / "checkpoints" / "best.pt"


def test_round_trip(tmp_path):
    path = best_of(tmp_path)
    model = written(path)
    found, info = checkpoint.load(path, "cpu")
    tokens = torch.randint(0, 5, (3, 40), dtype=torch.uint8)
    assert torch.equal(found(tokens).logits, model(tokens).logits)
    assert not found.training
    assert info == CheckpointInfo(
        config=CONFIG,
        length=40,
        targets=2,
        task="multilabel",
        entropy=1e-3,
        epoch=3,
        metrics={"valid_auroc": 0.9},
    )
    assert [file.name for file in path.parent.iterdir()] == ["best.pt"]


def test_one_of_before_a_key_of_the_model_loads(tmp_path):
    path = best_of(tmp_path)
    model = written(path)
    plain, tensors = checkpoint._read(path, "model")
    for key in ("first_layer", "preloaded"):
        del plain["config"][key]
    checkpoint._write(path, "model", plain, tensors)
    tokens = torch.randint(0, 5, (3, 40), dtype=torch.uint8)
    assert torch.equal(checkpoint.load(path, "cpu")[0](tokens).logits, model(tokens).logits)


def test_the_same_weights_give_the_same_bytes(tmp_path):
    torch.manual_seed(1)
    written(tmp_path / "one" / "best.pt")
    torch.manual_seed(1)
    written(tmp_path / "two" / "another.pt")
    assert (tmp_path / "one" / "best.pt").read_bytes() == (tmp_path / "two" / "another.pt").read_bytes()


def refused(path: Path, *words: str) -> str:
    with pytest.raises(ArtefactError) as caught:
        checkpoint.load(path, "cpu")
    message = str(caught.value)
    for word in (str(path), f"satori-hpc train {path.parent.parent}", *words):
        assert word in message
    return message


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("through", ["pickle", "torch", "inside"])
def test_a_malicious_file_executes_nothing(tmp_path, through):
    path, target = best_of(tmp_path), tmp_path / "executed"
    path.parent.mkdir(parents=True)
    if through == "pickle":
        path.write_bytes(pickle.dumps(Bomb(target)))
    elif through == "torch":
        torch.save(Bomb(target), path)
    else:
        written(path)
        content = torch.load(path, weights_only=True)
        put(path, {**content, "tensors": {"weights": Bomb(target)}})
    refused(path)
    assert not target.exists()
    # The bomb is real: an unsafe load would set it off.
    if through != "pickle":
        torch.load(path, weights_only=False)
        assert target.exists()


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
def test_truncated(tmp_path, kept):
    path = best_of(tmp_path)
    written(path)
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    refused(path)


def test_missing(tmp_path):
    refused(best_of(tmp_path), "no such checkpoint")


@pytest.mark.parametrize("foreign", [{"state_dict": {}}, [1, 2], torch.ones(3), "text"])
def test_foreign(tmp_path, foreign):
    path = best_of(tmp_path)
    put(path, foreign)
    refused(path, "no checkpoint of satori-hpc")
    torch.save(foreign, path)
    refused(path, "its last line is not the SHA-256 of what stands before it")


def put(path: Path, content: object) -> None:
    """Write what torch makes of `content` with a digest that is right."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    sealed.write_bytes(path, buffer.getvalue())


def edited(path: Path, **change: object) -> None:
    content = torch.load(path, weights_only=True)
    put(path, {**content, **change})


def test_every_flipped_byte_is_found_before_torch_sees_it(tmp_path, monkeypatch):
    path = best_of(tmp_path)
    written(path)
    content = path.read_bytes()
    monkeypatch.setattr(torch, "load", None)
    for at in [*range(0, len(content), max(1, len(content) // 200)), len(content) - 1]:
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        refused(path, "SHA-256")


def test_other_format_version(tmp_path):
    path = best_of(tmp_path)
    written(path)
    edited(path, format_version=99)
    refused(path, "99")


@pytest.mark.parametrize(
    "plain", ["{}", "[]", "not json", '{"config": {"num_filters": 3}}', '{"config": {"colour": 1}, "length": 40}', 7]
)
def test_damaged_description(tmp_path, plain):
    path = best_of(tmp_path)
    written(path)
    edited(path, plain=plain)
    refused(path)


def test_a_step_file_is_no_model(tmp_path):
    folder = best_of(tmp_path).parent
    checkpoint.save_training(folder, step=5, plain={}, tensors={})
    step = folder / "step_00000005.pt"
    refused(step, "training")


def weights_edited(path: Path, edit: object) -> None:
    content = torch.load(path, weights_only=True)
    edit(content["tensors"]["weights"])
    put(path, content)


def test_wrong_weights(tmp_path):
    path = best_of(tmp_path)

    def all_at_once(weights):
        weights["stem.conv.weight"] = torch.zeros(6, 4, 7)
        weights["output.bias"] = weights["output.bias"].double()
        weights["output.weight"][0, 0] = float("nan")
        del weights["stem.norm.weight"]
        weights["extra"] = torch.zeros(1)

    written(path)
    weights_edited(path, all_at_once)
    refused(path, "(6, 4, 7)", "output.bias", "output.weight", "stem.norm.weight is missing", "extra is unexpected")


def test_a_description_of_a_giant_is_refused_before_it_is_built(tmp_path):
    path = best_of(tmp_path)
    written(path)
    plain = torch.load(path, weights_only=True)["plain"].replace('"num_filters": 6', '"num_filters": 2000000000')
    edited(path, plain=plain)
    refused(path, "do not fit")


def test_step_files_keep_the_last_two(tmp_path):
    for step in (5, 10, 15, 100):
        checkpoint.save_training(tmp_path, step=step, plain={"step": step}, tensors={"x": torch.ones(2) * step})
    names = [path.name for path in checkpoint.step_files(tmp_path)]
    assert names == ["step_00000100.pt", "step_00000015.pt"]
    plain, tensors = checkpoint.load_training(tmp_path / names[0])
    assert plain == {"step": 100}
    assert torch.equal(tensors["x"], torch.full((2,), 100.0))


def test_a_killed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = best_of(tmp_path)
    written(path)
    before = path.read_bytes()

    def half(content, target):
        target.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        written(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["best.pt"]
