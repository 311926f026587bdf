"""Save and load checkpoints: best.pt rebuilds the network, training resumes from step_*.pt.

A file holds tensors and plain values only and is read with `weights_only=True`: loading one executes nothing. A
SHA-256 follows the bytes that torch wrote and is verified first.
"""

import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from satori_hpc import config, models
from satori_hpc.config import Model, toml
from satori_hpc.config.families import FAMILIES
from satori_hpc.data.dataset import Dataset, blocks
from satori_hpc.errors import ArtefactError, ConfigError, quoted
from satori_hpc.log import logger
from satori_hpc.models.base import TrainableModel
from satori_hpc.motifs.scan import MotifBank
from satori_hpc.run import files, sealed
from satori_hpc.run.layout import Run
from satori_hpc.training.loop import Progress, Trainer

FORMAT_VERSION = 3
_MAGIC = "satori_hpc checkpoint"
_KEPT = 2


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """Metadata of the weights in best.pt.

    Attributes:
        config: section [model]. length: L. targets: T. task: "binary" or "multilabel".
        entropy: weight of the entropy loss it was trained with.
        bank: known motifs that it starts from, MotifBank.to_plain; None: none.
        epoch: epoch of the weights, from 1. metrics: {name: value} on the validation set at that epoch.
    """

    config: Model
    length: int
    targets: int
    task: str
    entropy: float
    bank: dict[str, Any] | None = None
    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)


def save(path: Path, *, weights: dict[str, torch.Tensor], info: CheckpointInfo) -> None:
    """Write a checkpoint that rebuilds a network; `weights` is its state_dict."""
    _write(path, "model", toml.to_plain(info), {"weights": weights})


def load(path: Path, device: torch.device | str) -> tuple[TrainableModel, CheckpointInfo]:
    """Load the network in evaluation mode on `device`, and its metadata.

    Raises:
        ArtefactError: missing, truncated, foreign, of another format version, or weights of another network.
        ConfigError: of an unknown model family.
    """
    plain, tensors = _read(path, "model")
    mend = _mend(path)
    _check_family(path, plain)
    try:
        config = toml.from_plain(plain.pop("config"), Model, name="model")
        info = CheckpointInfo(config=config, **plain)
        # Shapes first, on the meta device: a file from elsewhere must not make us allocate any amount.
        with torch.device("meta"):
            expected = _build(info).state_dict()
    except Exception as error:
        raise ArtefactError(f"{path}: describes no network that can be built ({error}); {mend}") from None
    _check_weights(path, tensors["weights"], expected)
    model = _build(info)
    model.load_state_dict(tensors["weights"])
    return model.to(device).eval(), info


def _check_family(path: Path, plain: dict[str, Any]) -> None:
    described = plain.get("config")
    name = described.get("architecture") if isinstance(described, dict) else None
    if isinstance(name, str) and name not in FAMILIES:
        raise ConfigError(
            f"{path}: its network is of the family {name!r}, known here: {', '.join(FAMILIES)}; import the module that "
            "registers it (plugins of the run's run.toml) first, or load the run directory, which does"
        )


def _build(info: CheckpointInfo) -> TrainableModel:
    return models.build(
        info.config,
        length=info.length,
        targets=info.targets,
        task=info.task,
        entropy=info.entropy,
        bank=None if info.bank is None else MotifBank.from_plain(info.bank),
    )


def _check_weights(path: Path, weights: Any, expected: dict[str, torch.Tensor]) -> None:
    if not isinstance(weights, dict):
        raise ArtefactError(f"{path}: holds no weights; {_mend(path)}")
    complaints = [f"{name} is missing" for name in expected.keys() - weights.keys()]
    complaints += [f"{name} is unexpected" for name in weights.keys() - expected.keys()]
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
    """Return (plain, tensors) of a step file, on the CPU.

    Raises:
        ArtefactError: as for `load`.
    """
    return _read(path, "training")


def step_files(folder: Path) -> list[Path]:
    """List the step files of a run, newest first."""
    return sorted(folder.glob("step_*.pt"), reverse=True)


def _write(path: Path, kind: str, plain: dict[str, Any], tensors: dict[str, Any]) -> None:
    content = {
        "magic": _MAGIC,
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "plain": json.dumps(plain),
        "tensors": tensors,
    }
    # To a buffer, because torch writes the file name into the file: the same weights must give the same bytes.
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
        # torch raises a dozen types here; none says more than that the file is no checkpoint.
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
        raise ArtefactError(f"{path}: unusable content ({error}); {mend}") from None
    return plain, tensors


def _mend(path: Path) -> str:
    return f"make it again: satori-hpc train {quoted(path.parent.parent)} --force"


# Files of training: best.pt, history.tsv, and the step checkpoints that it resumes from.


class TrainingFiles:
    """Callbacks that write best.pt, history.tsv and the step checkpoints of a run."""

    def __init__(self, run: Run, data: Dataset, bank: MotifBank | None = None) -> None:
        self.run = run
        self.data = data
        self.digests = {
            "config": toml.digest(config.sections(run.config, ("model", "train"))),
            "dataset": _digest(data),
        }
        if bank is not None:
            self.digests["known motifs"] = toml.digest(bank.to_plain())

    def best(self, trainer: Trainer) -> None:
        now = trainer.progress
        row = now.history[now.best_epoch - 1]
        info = CheckpointInfo(
            config=self.run.config.model,
            length=self.data.length,
            targets=len(self.data.targets),
            task=self.data.task,
            entropy=self.run.config.train.entropy,
            bank=None if trainer.model.bank is None else trainer.model.bank.to_plain(),
            epoch=now.best_epoch,
            metrics={name: value for name, value in row.items() if name.startswith("valid_") and value is not None},
        )
        save(self.run.best, weights=trainer.best_weights, info=info)

    def history(self, trainer: Trainer) -> None:
        write(self.run.history, trainer.progress.history)

    def state(self, trainer: Trainer) -> None:
        tensors = {
            "model": trainer.model.state_dict(),
            "optimiser": trainer.optimiser.state_dict(),
            "best": trainer.best_weights,
        }
        plain = {
            "digests": self.digests,
            "progress": dataclasses.asdict(trainer.progress),
            "ranks": trainer.world.size,  # logged on resuming; only rounding depends on it
        }
        save_training(self.run.checkpoints, step=trainer.progress.total_steps, plain=plain, tensors=tensors)

    def resume(self, trainer: Trainer) -> bool:
        """Restore the trainers of all processes from the newest usable checkpoint; return False when there is none.

        Rank 0 reads it and broadcasts.
        """
        found = trainer.world.run_on_root(self._newest)
        if found is None:
            return False
        plain, tensors = found
        trainer.go_on(Progress(**plain["progress"]))
        trainer.best_weights = tensors["best"]
        trainer.model.load_state_dict(tensors["model"])
        trainer.optimiser.load_state_dict(tensors["optimiser"])
        # A kill between two writes can leave best.pt and history.tsv of a later epoch: they follow the state.
        trainer.world.run_on_root(lambda: self._follow(trainer))
        now = trainer.progress
        logger.info("training resumes after %d epochs and %d steps of the next", now.epoch, now.step)
        before, size = plain.get("ranks", 1), trainer.world.size
        if before != size:
            logger.info("saved by %d processes, resumed by %d: the results differ by rounding", before, size)
        return True

    def _follow(self, trainer: Trainer) -> None:
        if trainer.best_weights:
            self.best(trainer)
        self.history(trainer)

    def _newest(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return the newest readable step checkpoint, if it is of this configuration and data set."""
        for path in step_files(self.run.checkpoints):
            try:
                plain, tensors = load_training(path)
            except ArtefactError as error:
                logger.warning("%s; trying an older one", error)
                continue
            found = plain.get("digests", {})
            differing = [name for name, value in self.digests.items() if found.get(name) != value]
            if not differing:
                return plain, tensors
            logger.info("training starts from scratch: %s was made with another %s", path, " and ".join(differing))
            return None
        return None


def _digest(data: Dataset) -> str:
    """Return the digest of the data that determine training."""
    total = hashlib.sha256(f"{data.tokens.shape} {data.labels.shape} {data.task}".encode())
    for rows in blocks(len(data)):
        total.update(np.ascontiguousarray(data.tokens[rows]).data)
    for values in (data.labels, data.split):
        total.update(np.ascontiguousarray(values).data)
    return total.hexdigest()


# history.tsv: one row per epoch of training.

COLUMNS = (
    "epoch",
    "attempt",
    "train_loss",
    "train_entropy",
    "valid_loss",
    "valid_auroc",
    "valid_aupr",
    "valid_auroc_kmers",
    "valid_auroc_motif_counts",
    "learning_rate",
    "seconds",
    "examples_per_s",
    "column_mass",
    "constant_outputs",
)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write all rows atomically; a value that is absent (no entropy loss, say) is an empty field."""
    with files.atomic_file(path) as partial, open(partial, "w", newline="", encoding="utf-8") as handle:
        table = csv.DictWriter(handle, COLUMNS, delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows({name: _cell(row.get(name)) for name in COLUMNS} for row in rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
