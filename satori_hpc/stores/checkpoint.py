"""Checkpoints: best.pt rebuilds the network, step_*.pt lets training go on.

A file holds tensors and plain values only and is read with `weights_only=True`: loading one executes nothing. Behind
what torch wrote stands its SHA-256, which is compared first.
"""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from satori_hpc import models, options
from satori_hpc.config import Model
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.models.satori import Satori
from satori_hpc.stores import sealed

FORMAT_VERSION = 2
_MAGIC = "satori_hpc checkpoint"
_KEPT = 2


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """What stands beside the weights in best.pt.

    Attributes:
        config: section [model]. length: L. targets: T. task: "binary" or "multilabel".
        entropy: weight of the entropy loss it was trained with.
        epoch: epoch of the weights, from 1. metrics: {name: value} on the validation set at that epoch.
    """

    config: Model
    length: int
    targets: int
    task: str
    entropy: float
    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)


def save(path: Path, *, weights: dict[str, torch.Tensor], info: CheckpointInfo) -> None:
    """Write what rebuilds a network; `weights` is its state_dict."""
    _write(path, "model", options.to_plain(info), {"weights": weights})


def load_model(path: Path, device: torch.device | str) -> tuple[Satori, CheckpointInfo]:
    """The network in evaluation mode on `device`, and what is known about it.

    Raises:
        ArtefactError: missing, truncated, foreign, of another format version, or weights of another network.
    """
    plain, tensors = _read(path, "model")
    mend = _mend(path)
    try:
        config = Model(**{key: _frozen(value) for key, value in plain.pop("config").items()})
        info = CheckpointInfo(config=config, **plain)
        # Shapes first, on a device without memory: a foreign file must not make us allocate what it likes.
        with torch.device("meta"):
            expected = _build(info).state_dict()
    except Exception as error:
        raise ArtefactError(f"{path}: describes no network that can be built ({error}); {mend}") from None
    _check_weights(path, tensors["weights"], expected)
    model = _build(info)
    model.load_state_dict(tensors["weights"])
    return model.to(device).eval(), info


def _build(info: CheckpointInfo) -> Satori:
    return models.build(info.config, length=info.length, targets=info.targets, task=info.task, entropy=info.entropy)


def _check_weights(path: Path, weights: Any, expected: dict[str, torch.Tensor]) -> None:
    if not isinstance(weights, dict):
        raise ArtefactError(f"{path}: holds no weights; {_mend(path)}")
    complaints = [f"{name} is missing" for name in expected.keys() - weights.keys()]
    complaints += [f"{name} does not belong there" for name in weights.keys() - expected.keys()]
    for name in sorted(expected.keys() & weights.keys()):
        found, wanted = weights[name], expected[name]
        if not isinstance(found, torch.Tensor) or (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            complaints.append(f"{name}: expected {tuple(wanted.shape)} {wanted.dtype}, found {shape}")
        elif not bool(torch.isfinite(found).all()):
            complaints.append(f"{name} holds values that are not finite")
    if complaints:
        raise ArtefactError(f"{path}: the weights do not fit: {'; '.join(sorted(complaints)[:10])}; {_mend(path)}")


def save_training(folder: Path, *, step: int, plain: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Write step_<step>.pt and remove all older ones but the last.

    Args:
        folder: checkpoints/ of the run.
        step: steps done since the start of training.
        plain: JSON-able state.
        tensors: nested dictionaries and lists of tensors and numbers (state_dicts).
    """
    _write(folder / f"step_{step:08d}.pt", "training", plain, tensors)
    for path in step_files(folder)[_KEPT:]:
        path.unlink(missing_ok=True)


def load_training(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(plain, tensors) of a step file, on the CPU.

    Raises:
        ArtefactError: as for `load_model`.
    """
    return _read(path, "training")


def step_files(folder: Path) -> list[Path]:
    """The step files of a run, newest first."""
    return sorted(folder.glob("step_*.pt"), reverse=True)


def _write(path: Path, kind: str, plain: dict[str, Any], tensors: dict[str, Any]) -> None:
    content = {
        "magic": _MAGIC,
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "plain": json.dumps(plain),
        "tensors": tensors,
    }
    # To a buffer, because torch writes a file's name into it: the same weights must give the same bytes.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    sealed.write_bytes(path, buffer.getbuffer())


def _read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    mend = _mend(path)
    try:
        raw = sealed.read_bytes(path, mend=mend)
    except FileNotFoundError:
        raise ArtefactError(
            f"{path}: no such checkpoint; make it: satori-hpc train {quoted(path.parent.parent)}"
        ) from None
    try:
        content = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises a dozen kinds here; none of them tells the user more than that the file is no checkpoint.
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArtefactError(f"{path}: not a checkpoint, or cut short ({first[:200]}); {mend}") from None
    if not isinstance(content, dict) or content.get("magic") != _MAGIC:
        raise ArtefactError(f"{path}: a torch file, but no checkpoint of satori-hpc; {mend}")
    if content.get("format_version") != FORMAT_VERSION:
        found = content.get("format_version")
        raise ArtefactError(f"{path}: format version {found}, this program reads {FORMAT_VERSION}; {mend}")
    try:
        plain, tensors = json.loads(content["plain"]), content["tensors"]
        if content["kind"] != kind or not isinstance(plain, dict) or not isinstance(tensors, dict):
            raise ValueError(f"expected a {kind} checkpoint, found {content['kind']!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{path}: its content cannot be used ({error}); {mend}") from None
    return plain, tensors


def _mend(path: Path) -> str:
    return f"make it again: satori-hpc train {quoted(path.parent.parent)} --force"


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
