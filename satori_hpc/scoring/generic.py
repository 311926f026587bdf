"""Score pairs of given sites with any network over one-hot sequences: slow, but without further requirements.

Epistasis needs forward passes, DFIM and base attributions need autograd. They compute the same as the
hand-written scorers (`epistasis`, `dfim`) for SATORI networks, with the same random bases, which take a small part of
the time; here any `models.base.ScorableModel` is scored, at sites of any width.

Shapes: B sequences of L bp, T outputs, m sites of a sequence. F is the target: the only output, or the sum of
those that `targets` of the batch names.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from satori_hpc.config import Dfim
from satori_hpc.errors import ConfigError, InputError, Problems, SatoriError
from satori_hpc.models.base import UNKNOWN, ScorableModel, one_hot
from satori_hpc.scoring import draws
from satori_hpc.scoring.base import Batch
from satori_hpc.scoring.dfim import frequencies, rule_of
from satori_hpc.scoring.fast.precision import precision
from satori_hpc.scoring.fast.rules import Rule

MEMORY = 1 << 30  # bytes that the arrays of a pass may take
Sites = Sequence[np.ndarray]  # of each sequence, int64 (m, 2): half-open intervals


@dataclass(frozen=True)
class EpistasisMap:
    """Double mutants of a sequence.

    Attributes:
        value: float64 (m, m), F(x) - F(x without i) - F(x without j) + F(x without both), symmetric, NaN on the
            diagonal and where sites are further apart than asked for.
        single: float64 (m,), F(x) - F(x without i).
        output: F(x).
    """

    value: np.ndarray
    single: np.ndarray
    output: float


@dataclass(frozen=True)
class DfimMap:
    """Attributions of a sequence and how they change.

    Attributes:
        value: float64 (m source, m target), decrease of the target's attribution when the source is mutated; NaN on
            the diagonal.
        attribution: float64 (L,), of the bases of the sequence.
    """

    value: np.ndarray
    attribution: np.ndarray


def tokens_of(letters: torch.Tensor) -> torch.Tensor:
    """Convert one-hot sequences (B, 4, L) to uint8 codes (B, L); a zero column is an unknown base.

    Raises:
        InputError: they are not of that shape, or a column is neither one-hot nor zeros.
    """
    if letters.dim() != 3 or letters.shape[1] != 4:
        raise InputError(f"one-hot letters: expected the shape (sequences, 4, bp), found {tuple(letters.shape)}")
    known = letters.sum(dim=1) == 1
    wrong = ((letters != 0) & (letters != 1)).any(dim=1) | (~known & (letters != 0).any(dim=1))
    if bool(wrong.any()):
        row, place = (int(each) for each in wrong.nonzero()[0])
        raise InputError(
            f"one-hot letters: sequence {row}, position {place}: expected a single 1 or zeros, found "
            f"{letters[row, :, place].tolist()}"
        )
    return letters.argmax(dim=1).masked_fill_(~known, UNKNOWN).to(torch.uint8)


def epistasis(
    model: ScorableModel,
    batch: Batch,
    sites: Sites,
    *,
    seed: int,
    mutations: int = 3,
    max_distance: int = 0,
    memory: int = MEMORY,
) -> list[EpistasisMap]:
    """Score pairs of sites by double mutants, from forward passes alone.

    The random bases are the same in all mutants of a draw; draws are averaged.

    Args:
        model: any network; it is scored in evaluation mode, on its device.
        batch: sequences, keys of their random bases, targets.
        sites: of each sequence, in any order and of any overlap.
        seed: of the run.
        mutations: number of draws of random bases.
        max_distance: sites further apart than this (start to start, bp) are no pair; 0 = any distance.
        memory: bytes that the arrays of a pass may take.

    Raises:
        InputError: sites or sequences do not fit the network or each other.
        SatoriError: the network's outputs are not finite, or are several and it is not said which are explained.
    """
    spans = _checked(model, batch, sites)
    found = []
    with _Passes(model, batch, memory=memory, gradients=False) as passes:
        for rows in _groups([mutations * _count(len(span)) for span in spans], passes.rows):
            variants, weights, unchanged = [], [], []
            for row in rows:
                tokens, key = batch.tokens[row : row + 1].cpu(), batch.keys[row : row + 1]
                letters = draws.replacements(tokens, key, seed=seed, number=mutations)[0]
                masks = _variant_masks(spans[row], tokens.shape[1])
                variants.append(torch.where(masks, letters[:, None], tokens[0]).flatten(0, 1))
                sites_only = masks[1 : 1 + len(spans[row])]
                unchanged.append(((letters == tokens)[:, None] | ~sites_only).all(dim=2).numpy())
                weights.append(passes.weights[row].expand(len(variants[-1]), -1))
            outputs = passes.outputs(torch.cat(variants), torch.cat(weights))
            for row, own, same in zip(rows, outputs.split([len(each) for each in variants]), unchanged, strict=True):
                each_draw = own.unflatten(0, (mutations, -1)).numpy()
                found.append(_epistasis_map(each_draw, spans[row], same, max_distance=max_distance))
    return found


def dfim(
    model: ScorableModel,
    batch: Batch,
    sites: Sites,
    *,
    settings: Dfim,
    seed: int,
    composition: np.ndarray,
    memory: int = MEMORY,
) -> list[DfimMap]:
    """Score pairs of sites by DFIM: how much mutating one changes the attributions of the other.

    A sequence and its mutants share their baselines (Greenside et al. 2018; `dfim` for SATORI networks).

    Args:
        model: any network that gradients go through; it is scored in evaluation mode, on its device.
        batch: sequences, keys of their random bases, targets.
        sites: of each sequence, in any order and of any overlap.
        settings: [score.dfim]; gradient x input, or integrated gradients by midpoint or gauss-legendre.
        seed: of the run.
        composition: float64 (4,), base frequencies of random baselines.
        memory: bytes that the arrays of a pass may take.

    Raises:
        ConfigError: settings that only SATORI networks have.
        InputError, SatoriError: as `epistasis`.
    """
    nodes, spans = rule(settings), _checked(model, batch, sites)
    found = []
    with _Passes(model, batch, memory=memory, gradients=True) as passes:
        for row, span in enumerate(spans):
            tokens, key = batch.tokens[row : row + 1].to(passes.device), batch.keys[row : row + 1]
            drawn = draws.replacements(tokens, key, seed=seed, number=settings.mutations)[0]
            original, masks = passes.letters(tokens), torch.from_numpy(_masks(span, tokens.shape[1])).to(passes.device)
            mutants, source = _mutants(original[0], masks, passes.letters(drawn), settings)
            changed = (mutants != original).flatten(1).any(dim=1)  # an unchanged site has exactly zero effect
            ends, own, change = torch.cat((original, mutants[changed])), torch.zeros(()), torch.zeros(())
            starts = _baselines(settings, key, original, seed=seed, composition=composition)
            for start in starts:
                each = passes.attributions(nodes, start.expand_as(ends), ends, passes.weights[row], at=original)
                own, change = own + each[0] / len(starts), change + (each[:1] - each[1:]) / len(starts)
            every = own.new_zeros(len(mutants), tokens.shape[1])
            every[changed] = change
            value = _site_map(every, source, masks, settings).fill_diagonal_(torch.nan)
            found.append(DfimMap(value=value.cpu().numpy(), attribution=own.cpu().numpy()))
    return found


def attributions(
    model: ScorableModel,
    batch: Batch,
    *,
    settings: Dfim,
    seed: int,
    composition: np.ndarray,
    memory: int = MEMORY,
) -> np.ndarray:
    """Return the attribution of every base of the sequences, float64 (B, L), averaged over the baselines.

    Args and errors: as `dfim`.
    """
    nothing = np.zeros((0, 2), dtype=np.int64)
    maps = dfim(
        model,
        batch,
        [nothing] * len(batch),
        settings=settings,
        seed=seed,
        composition=composition,
        memory=memory,
    )
    return np.stack([each.attribution for each in maps]) if maps else np.zeros((0, batch.tokens.shape[1]))


def epistasis_pairs(model: ScorableModel, batch: Batch, sites: Sites, *, seed: int, mutations: int) -> list[np.ndarray]:
    """Score pairs of given sites by `epistasis`, (m, m) of each sequence."""
    return [each.value for each in epistasis(model, batch, sites, seed=seed, mutations=mutations)]


def dfim_pairs(model: ScorableModel, batch: Batch, sites: Sites, *, seed: int, mutations: int) -> list[np.ndarray]:
    """Score pairs of given sites by `dfim` with integrated gradients, (m, m) of each sequence.

    Baselines have the composition of the sequences.
    """
    counts = np.array([int((batch.tokens == letter).sum()) for letter in range(4)], dtype=np.float64)
    settings = Dfim(rule="midpoint", mutations=mutations)
    found = dfim(model, batch, sites, settings=settings, seed=seed, composition=counts / counts.sum())
    return [each.value for each in found]


# Input.


def _checked(model: ScorableModel, batch: Batch, sites: Sites) -> list[np.ndarray]:
    """Return the sites as int64 (m, 2) arrays."""
    count, length = batch.tokens.shape
    if length != model.length:
        raise InputError(f"sequences of {length} bp, but the network takes {model.length} bp")
    if len(sites) != count or len(batch.keys) != count:
        raise InputError(
            f"{count} sequences, {len(batch.keys)} keys and sites of {len(sites)}: expected as many of each"
        )
    if batch.targets is None and model.targets > 1:
        raise SatoriError("a multi-label network: which outputs are explained must be given (targets of the batch)")
    problems = Problems("sites that cannot be mutated:", InputError)
    found = []
    for row, each in enumerate(sites):
        span = np.asarray(each)
        if span.size == 0:
            span = np.zeros((0, 2), dtype=np.int64)
        if span.ndim != 2 or span.shape[1] != 2 or not np.issubdtype(span.dtype, np.integer):
            problems.add(f"sequence {row}: expected whole numbers of shape (sites, 2), found {span.dtype} {span.shape}")
            continue
        for start, end in span[(span[:, 0] < 0) | (span[:, 1] > length) | (span[:, 0] >= span[:, 1])].tolist():
            problems.add(f"sequence {row}: {start}..{end}: expected 0 <= start < end <= {length}")
        found.append(span.astype(np.int64))
    problems.raise_any()
    return found


def rule(settings: Dfim) -> Rule:
    """Return the quadrature rule between baseline and sequence.

    Raises:
        ConfigError: settings that only SATORI networks have.
    """
    settings = dataclasses.replace(settings, rule="midpoint" if settings.rule == "auto" else settings.rule)
    if settings.legacy or settings.attribution == "deeplift" or rule_of(settings).secant:
        raise ConfigError(
            "[score.dfim]: legacy, attribution = 'deeplift' and rule = 'secant' are hand-written for SATORI networks "
            "and their own sites; otherwise set rule = 'gauss-legendre' or 'midpoint', or attribution = 'gradient'"
        )
    return rule_of(settings)


# Computation.


class _Passes:
    """Passes through a network in evaluation mode, as many rows at a time as fit; a context manager.

    Attributes:
        device: of the network. weights: float (B, T), how much of each output is explained. rows: of a pass.
    """

    def __init__(self, model: ScorableModel, batch: Batch, *, memory: int, gradients: bool) -> None:
        self._model = model
        self._module = model if isinstance(model, nn.Module) else nn.Module()
        parameter = next(self._module.parameters(), torch.zeros(()))
        self.device, self._dtype = parameter.device, parameter.dtype
        self._targets = torch.ones(len(batch), 1) if batch.targets is None else batch.targets
        self._example = batch.tokens[:1]
        self._memory, self._gradients = memory, gradients
        self._stack = contextlib.ExitStack()
        self.rows = 1

    def __enter__(self) -> "_Passes":
        training = self._module.training
        self._module.eval()
        self._stack.callback(self._module.train, training)
        self._stack.enter_context(precision(self.device, "float32"))
        self._stack.enter_context(torch.inference_mode(mode=False))
        self.weights = self._targets.clone().to(self.device, self._dtype)
        if self._gradients and any(isinstance(each, nn.RNNBase) for each in self._module.modules()):
            # cuDNN has no way back through a recurrent layer in evaluation mode.
            self._stack.enter_context(torch.backends.cudnn.flags(enabled=False, allow_tf32=False))
        try:
            if len(self._targets):
                self.rows = max(1, self._memory // (2 * self._bytes_per_row()))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *unused: Any) -> None:
        self._stack.close()

    def letters(self, tokens: torch.Tensor) -> torch.Tensor:
        """Convert codes (B, L) to one-hot (B, 4, L)."""
        return one_hot(tokens.to(self.device), self._dtype)

    @torch.no_grad()
    def outputs(self, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return F of sequences, float64 (V,) on the CPU.

        Args:
            tokens: uint8 (V, L).
            weights: (V, T).
        """
        found = [
            self._explained(self.letters(some), own)
            for some, own in zip(tokens.split(self.rows), weights.split(self.rows), strict=True)
        ]
        return torch.cat(found).cpu()

    def attributions(
        self, rule: Rule, start: torch.Tensor, end: torch.Tensor, weights: torch.Tensor, *, at: torch.Tensor
    ) -> torch.Tensor:
        """Return attributions, float64 (R, L), of the bases `at` on straight paths.

        Args:
            rule: where derivatives are taken.
            start, end: (R, 4, L).
            weights: (T,).
            at: (1, 4, L).
        """
        nodes = torch.tensor(rule.nodes, dtype=end.dtype, device=end.device)
        shares = torch.tensor(rule.weights, dtype=torch.float64, device=end.device)
        total = torch.zeros(end.shape, dtype=torch.float64, device=end.device)
        for some in torch.arange(len(end) * len(nodes), device=end.device).split(self.rows):
            path, node = some // len(nodes), some % len(nodes)
            letters = torch.lerp(start[path], end[path], nodes[node, None, None]).requires_grad_()
            with torch.enable_grad():
                explained = self._explained(letters, weights.expand(len(some), -1)).sum()
            if not explained.requires_grad:
                raise SatoriError("no gradient of the network's outputs reaches the letters; epistasis needs none")
            (gradient,) = torch.autograd.grad(explained, letters)
            total.index_add_(0, path, gradient.double() * shares[node, None, None])
        return (total * (end - start) * at).sum(dim=1)

    def _explained(self, letters: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return F, float64 (R,)."""
        outputs = self._model(letters)
        if outputs.shape != weights.shape:
            raise InputError(
                f"the network gives outputs of shape {tuple(outputs.shape)}, expected {tuple(weights.shape)} "
                "(sequences, labels)"
            )
        if not bool(torch.isfinite(outputs.detach()).all()):
            raise SatoriError("the network's outputs are not finite: its training diverged; train again")
        return (outputs.double() * weights).sum(dim=1)

    def _bytes_per_row(self) -> int:
        """Measure the memory that autograd keeps per sequence, and bound that of a pass without gradients."""

        def kept(rows: int) -> int:
            storages: dict[int, int] = {}

            def pack(tensor: torch.Tensor) -> torch.Tensor:
                storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
                return tensor

            letters = self.letters(self._example.expand(rows, -1))
            with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                self._model(letters.requires_grad_())
            return sum(storages.values())

        return max(16 * self._model.length, kept(2) - kept(1))


def _groups(sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Group neighbours until their total size reaches `most`, except for the last group."""
    rows: list[int] = []
    for row in range(len(sizes)):
        rows.append(row)
        if sum(sizes[each] for each in rows) >= most or row == len(sizes) - 1:
            yield rows
            rows = []


def _masks(span: np.ndarray, length: int) -> np.ndarray:
    """Return bool (m, L): the positions of each site."""
    place = np.arange(length)
    inside: np.ndarray = (place >= span[:, :1]) & (place < span[:, 1:])
    return inside


# Epistasis.


def _count(sites: int) -> int:
    """Return variants of a sequence: itself, its single and its double mutants."""
    return 1 + sites + sites * (sites - 1) // 2


def _variant_masks(span: np.ndarray, length: int) -> torch.Tensor:
    """Return bool (1 + m + pairs, L): the mutated positions of every variant."""
    masks = _masks(span, length)
    first, second = np.triu_indices(len(span), 1)
    return torch.from_numpy(np.concatenate((np.zeros((1, length), bool), masks, masks[first] | masks[second])))


def _epistasis_map(outputs: np.ndarray, span: np.ndarray, unchanged: np.ndarray, *, max_distance: int) -> EpistasisMap:
    """Compute the epistasis map from F (draws, variants), and bool (draws, m): mutations that change nothing."""
    sites = len(span)
    first, second = np.triu_indices(sites, 1)
    whole, single, double = np.split(outputs, [1, 1 + sites], axis=1)
    each = np.where(
        unchanged[:, first] | unchanged[:, second], 0, whole - single[:, first] - single[:, second] + double
    )
    value = np.full((sites, sites), np.nan)
    value[first, second] = value[second, first] = each.mean(axis=0)
    if max_distance:
        value[abs(span[:, :1] - span[:, 0]) > max_distance] = np.nan
    alone = np.where(unchanged, 0, whole - single).mean(axis=0)
    return EpistasisMap(value=value, single=alone, output=float(whole[0, 0]))


# DFIM.


def _baselines(
    settings: Dfim, key: torch.Tensor, like: torch.Tensor, *, seed: int, composition: np.ndarray
) -> torch.Tensor:
    """Return the baselines (n, 4, L) of the paths of a sequence."""
    length = like.shape[2]
    if settings.attribution == "gradient" or settings.baseline == "zero":
        return torch.zeros_like(like)
    if settings.baseline == "frequencies":
        return frequencies(like)[None, :, None].expand(1, -1, length)
    drawn = draws.baselines(key, seed=seed, number=settings.baselines, length=length, composition=composition)
    return one_hot(drawn[0].to(like.device), like.dtype)


def _mutants(
    original: torch.Tensor, masks: torch.Tensor, drawn: torch.Tensor, settings: Dfim
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mutants (V, 4, L) of a sequence, and the site that is mutated in each, int64 (V,).

    Args:
        original: (4, L).
        masks: bool (m, L), positions of the sites.
        drawn: (mutations, 4, L), random bases.
        settings: of the mutation.
    """
    if settings.feature == "base":
        site, place, letter = (masks[:, :, None] & (original.T == 0)).nonzero().unbind(1)
        letters = original.repeat(len(site), 1, 1)
        rows = torch.arange(len(site), device=original.device)
        letters[rows, :, place] = 0
        letters[rows, letter, place] = 1
        return letters, site
    if settings.mutation != "random":
        column = frequencies(original) * (settings.mutation == "frequencies")
        drawn = column[None, :, None].expand(1, -1, original.shape[1])
    site = torch.arange(len(masks), device=original.device).repeat_interleave(len(drawn))
    return torch.where(masks[site][:, None], drawn.repeat(len(masks), 1, 1), original), site


def _site_map(change: torch.Tensor, source: torch.Tensor, masks: torch.Tensor, settings: Dfim) -> torch.Tensor:
    """Return changes at the sites, (m source, m target), signed.

    Args:
        change: (V, L), attribution of each base in the sequence minus that in the mutant.
        source: int64 (V,), the mutated site of each.
        masks: bool (m, L), positions of the sites.
        settings: of the response.
    """
    sites = len(masks)
    mutants = [change[source == site] for site in range(sites)]
    if settings.feature == "interval":  # different bases in place of a site are averaged, position by position
        mutants = [each.mean(dim=0, keepdim=True) for each in mutants]
    value = change.new_zeros(sites, sites)
    for row, each in enumerate(mutants):
        for column, mask in enumerate(masks):
            read = each[:, mask]
            of_target = read.sum(dim=1) if settings.response == "sum" else _largest(read, dim=1)
            value[row, column] = _largest(of_target, dim=0)
    return value


def _largest(values: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the value of largest magnitude, signed."""
    return values.gather(dim, values.abs().argmax(dim=dim, keepdim=True)).squeeze(dim)
