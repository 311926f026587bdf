"""Define the interfaces of networks: for training, and for scoring any network.

Shapes: B sequences of L bp, T labels, C logits (2 of a binary network with two outputs, else T), F first-layer filters.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from satori_hpc.errors import ConfigError, InputError
from satori_hpc.models.kmers import KmerRegression
from satori_hpc.motifs.scan import Gate, MotifBank

UNKNOWN = 4
SMALLEST_THRESHOLD = 1e-12  # a threshold of 0 divides nothing; the larger activation still comes first


class ScorableModel(Protocol):
    """Interface of the generic scoring methods: any torch module over one-hot sequences.

    It may offer more; an attribute that is None, or not there, is not offered:

    - `attention(one_hot)`: (B, heads, n, n), rows are queries and sum to 1;
    - `site_activations(one_hot)`: (B, F, L'), where the patterns of the first layer are;
    - `fast_paths`: the network that the hand-written scorers of `scoring/` take, and which computes the same.

    Attributes:
        length: L, bp. targets: T.
    """

    length: int
    targets: int

    def __call__(self, one_hot: torch.Tensor) -> torch.Tensor:
        """Return the outputs before the sigmoid (B, T) of one-hot (B, 4, L); an unknown base is a zero column."""


@dataclass(frozen=True)
class ModelOutput:
    """Output of a forward pass over B sequences; parts that were not requested are None.

    Attributes:
        logits: (B, C) float32.
        attention: (B, heads, n, n) float32 before dropout; rows are queries and sum to 1.
        activations: (B, F, L') first-layer activations before pooling; column j belongs to the window of the sequence
            that starts at j - padding.
        entropy: (B,) float32, nats: entropy of an attention row, averaged over rows and summed over heads.
    """

    logits: torch.Tensor
    attention: torch.Tensor | None = None
    activations: torch.Tensor | None = None
    entropy: torch.Tensor | None = None


@dataclass(frozen=True)
class Moments:
    """Mean (4 W,) and covariance (4 W, 4 W), float64, of the windows of a batch, and the number of windows."""

    mean: torch.Tensor
    covariance: torch.Tensor
    count: int


class BothStrands(Protocol):
    """Learned filters that see both strands; filters: F. width: bp, odd."""

    filters: int
    width: int

    def strands(self, sequences: torch.Tensor) -> torch.Tensor:
        """Return activations before pooling, (B, 2, F, L), of the given strand and of the other one.

        Column j belongs to the window centred at j, on either strand.
        """


class TrainableModel(nn.Module):
    """Interface for training, predictions and checkpoints: tokens in, logits out.

    Attributes:
        length: L, bp. targets: T. outputs: C. task: "binary" or "multilabel".
        has_attention: whether it gives back attention and its entropy.
        filters: F, whose activations it gives back; 0 = none. width: of a filter, bp. padding: columns left of the
            sequence.
        pool: bp per position of its attention.
        has_fast_paths: whether the hand-written scorers of `scoring/` take it.
        bank: the known motifs that it starts from; None: none. If it has filters, they are these. gate: thresholds of
            a hit.
        scorers: {scoring method: "package.module:class" of its own scorer} (scoring.base.SiteScorer).
        largest_array: numbers per sequence in the largest array of a forward pass; 0 = not known.
        kmers: a regression whose log-odds are added to the logits of predictions, and were when it was trained; None:
            none. Scores explain the network alone.
    """

    length: int
    targets: int
    outputs: int
    task: str
    has_attention = False
    has_fast_paths = False
    filters = 0
    width = 0
    padding = 0
    bank: MotifBank | None = None
    gate = Gate()
    scorers: Mapping[str, str] = {}
    pool = 1
    largest_array = 0

    def __init__(self) -> None:
        super().__init__()
        self.kmers: KmerRegression | None = None

    def forward(
        self,
        sequences: torch.Tensor,
        *,
        attention: bool = False,
        activations: bool = False,
        entropy: bool = False,
        moments: Moments | None = None,
    ) -> ModelOutput:
        """Run the network.

        Args:
            sequences: uint8 codes (B, L), A, C, G, T, other = 0..4; or one-hot (B, 4, L) of a float type.
            attention, activations, entropy: give them back.
            moments: in training, of the batch that these sequences are a part of, from `batch_moments`; None: they are
                the batch.
        """
        raise NotImplementedError

    def site_activations(self, sequences: torch.Tensor) -> torch.Tensor:
        """Return first-layer activations (B, F, L') alone.

        Column j belongs to the window that starts at j - padding.
        """
        raise NotImplementedError

    def predicted(self, sequences: torch.Tensor, *, attention: bool = False) -> ModelOutput:
        """Run the network with what is beside it: the logits are those of predictions. Arguments as of `forward`."""
        output: ModelOutput = self(sequences, attention=attention)
        if self.kmers is None:
            return output
        return dataclasses.replace(output, logits=output.logits + self.kmers(sequences))

    def pooled(self, sequences: torch.Tensor) -> torch.Tensor:
        """Return the largest activation of each filter under each position of the attention, (B, F, n)."""
        return F.max_pool1d(self.site_activations(sequences), self.pool)

    def batch_moments(
        self, tokens: torch.Tensor, *, count: int, all_reduce_sum: Callable[[torch.Tensor], object]
    ) -> Moments | None:
        """Return the moments of a whole batch for normalisation in training, once a step; None: not needed.

        Args:
            tokens: uint8 (B, L), those of the batch that this process has; B may be 0.
            count: sequences of the batch.
            all_reduce_sum: adds a tensor up over all processes, in place.
        """
        return None

    @property
    def site_widths(self) -> np.ndarray:
        """Return the bp of a site of each filter, int64 (F,)."""
        return np.full(self.filters, self.width)

    @property
    def trained_scores(self) -> list[np.ndarray] | None:
        """Return the matrices (w, 4) of known motifs, hundredths of a bit, that training changed; None: it did not."""
        return None

    def strand_at(
        self, tokens: torch.Tensor, example: np.ndarray, motif: np.ndarray, start: np.ndarray, *, span: int = 1
    ) -> np.ndarray:
        """Return the strand of sites, 1 or -1, int64 (S,): a filter reads the given one.

        Args:
            tokens: uint8 (B, L).
            example, motif: (S,), of the sites.
            start: (S,), bp, of the first window that the site may be.
            span: number of windows that it may be; the strongest counts.
        """
        return np.ones(len(example), dtype=np.int64)

    def strength(self, activations: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
        """Return the strength of sites with these activations (B, F, L'), by which the strongest of them is chosen.

        Args:
            activations: of the first layer.
            threshold: (F,), above which a position is a site.

        Returns:
            (B, F, L'), 1 = the threshold of the filter.
        """
        return activations / threshold.clamp(min=SMALLEST_THRESHOLD)[:, None]

    def remember(self, tokens: np.ndarray) -> None:
        """Register sequences (E, L) uint8 that occur in every epoch, so that results for them may be cached."""

    def silence(self) -> None:
        """Make all logits 0: training beside `kmers` starts from what these say."""

    @property
    def both_strands(self) -> BothStrands | None:
        """Learned filters that see both strands; None if there are none."""
        return None

    @property
    def motifs(self) -> int:
        """Number of motifs of its sites: its filters, or the known motifs that it starts from."""
        return self.filters if self.bank is None else len(self.bank)

    @property
    def two_logits(self) -> bool:
        """Whether a binary network has a logit for each class."""
        return self.task == "binary" and self.outputs == 2

    def margin(self, logits: torch.Tensor) -> torch.Tensor:
        """Return log-odds (B, T) float32 of logits (B, C), for ranking, because probabilities round to ties."""
        logits = full(logits)
        return logits[:, 1:] - logits[:, :1] if self.two_logits else logits

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Return probabilities (B, T) float32 of logits (B, C)."""
        return torch.sigmoid(self.margin(logits))


def require_filters(model: TrainableModel) -> None:
    """Refuse a network that does not say where its patterns are.

    Raises:
        ConfigError: it gives back no first-layer activations.
    """
    if not model.filters:
        raise ConfigError(
            "the network gives back no first-layer activations, so it has no motifs and no sites; let its model family "
            "offer site_activations(one_hot), filters and width (models.base.OneHotModel), or score sites of your own "
            "by scoring.generic"
        )


class Scorable(nn.Module):
    """Expose a trained network as a plain torch module: one-hot (B, 4, L) in, logits (B, T) out.

    Gradients flow to the input. It is a `ScorableModel`, and works in captum, tangermeme and similar tools.

    Attributes:
        network: the network itself.
        length: L, bp. targets: T.
    """

    def __init__(self, network: TrainableModel) -> None:
        super().__init__()
        self.network = network
        self.length = network.length
        self.targets = network.targets

    def forward(self, one_hot: torch.Tensor) -> torch.Tensor:
        """Return log-odds of every label.

        Args:
            one_hot: (B, 4, L) of any type of numbers, rows A, C, G, T; an unknown base is a zero column.

        Returns:
            (B, T) float32.

        Raises:
            InputError: another shape.
        """
        logits = self.network.predicted(self._checked(one_hot)).logits
        return self.network.margin(logits)

    @property
    def attention(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """Map one-hot (B, 4, L) to attention (B, heads, n, n); None if the network has none."""
        if not self.network.has_attention:
            return None
        return lambda one_hot: self.network(self._checked(one_hot), attention=True).attention

    @property
    def site_activations(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """Map one-hot (B, 4, L) to first-layer activations (B, F, L'); None if the network has no filters."""
        if not self.network.filters:
            return None
        return lambda one_hot: self.network.site_activations(self._checked(one_hot))

    @property
    def fast_paths(self) -> TrainableModel | None:
        """The network, for hand-written scorers; None if there are none for it."""
        return self.network if self.network.has_fast_paths else None

    def _checked(self, one_hot: torch.Tensor) -> torch.Tensor:
        if one_hot.dim() != 3 or one_hot.shape[1:] != (4, self.length):
            raise InputError(
                f"one-hot letters: expected the shape (sequences, 4, {self.length}), found {tuple(one_hot.shape)}; "
                f"rows are A, C, G, T, columns the {self.length} bp that the network was trained on"
            )
        return one_hot if one_hot.is_floating_point() else one_hot.float()


class OneHotModel(TrainableModel):
    """Train a plain torch module from one-hot (B, 4, L) to logits (B, T), such as a plug-in's.

    Optional parts of the module (see `ScorableModel`) are found by name: `attention(one_hot)`, and
    `site_activations(one_hot)` with the attributes `filters`, `width` and, if the first window starts left of the
    sequence, `padding`. Of attention, `pool` is the bp per position.

    Args:
        module: the network.
        length: L, bp. targets: T. task: "binary" or "multilabel".
    """

    def __init__(self, module: nn.Module, *, length: int, targets: int, task: str) -> None:
        super().__init__()
        self.module = module
        self.length = length
        self.targets = self.outputs = targets
        self.task = task
        self.has_attention = callable(getattr(module, "attention", None))
        self.pool = int(getattr(module, "pool", 1)) if self.has_attention else 1
        if callable(getattr(module, "site_activations", None)):
            self.filters, self.width = int(module.filters), int(module.width)  # type: ignore[arg-type]
            self.padding = int(getattr(module, "padding", 0))

    def forward(
        self,
        sequences: torch.Tensor,
        *,
        attention: bool = False,
        activations: bool = False,
        entropy: bool = False,
        moments: Moments | None = None,
    ) -> ModelOutput:
        """Run the module; it returns no entropy."""
        assert not entropy
        letters = self._letters(sequences)
        logits = full(self.module(letters))
        if logits.shape != (len(letters), self.outputs):
            raise InputError(
                f"{type(self.module).__name__}: expected logits of shape {(len(letters), self.outputs)} (sequences, "
                f"labels), found {tuple(logits.shape)}"
            )
        return ModelOutput(
            logits=logits,
            attention=self.module.attention(letters) if attention else None,  # type: ignore[operator]
            activations=self.site_activations(letters) if activations else None,
        )

    def site_activations(self, sequences: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.module.site_activations(self._letters(sequences))  # type: ignore[operator]
        return found

    def _letters(self, sequences: torch.Tensor) -> torch.Tensor:
        parameter = next(self.module.parameters(), None)
        return one_hot(sequences, torch.float32 if parameter is None else parameter.dtype)


def one_hot(sequences: torch.Tensor, dtype: torch.dtype, *, pad: tuple[int, int] = (0, 0)) -> torch.Tensor:
    """Convert to one-hot (B, 4, left + L + right) of this type; unknown bases and the padding are zero columns.

    Args:
        sequences: uint8 codes (B, L), or one-hot (B, 4, L) of a float type, through which gradients flow.
        dtype: of the result.
        pad: columns on the left and on the right.
    """
    if sequences.is_floating_point():
        return F.pad(sequences.to(dtype), pad)
    padded = F.pad(sequences, pad, value=UNKNOWN)  # before it is one-hot it is small
    letters = torch.arange(4, dtype=sequences.dtype, device=sequences.device)
    return (padded[:, None, :] == letters[:, None]).to(dtype)


def full(values: torch.Tensor) -> torch.Tensor:
    """Convert to at least float32: half precision is widened, float64 is kept."""
    return values if values.dtype == torch.float64 else values.float()
