"""A bidirectional LSTM along paths: gates are functions of one value and products, so secants are exact here, too."""

import torch
from torch import nn

from satori_hpc.scoring.fast import rules
from satori_hpc.scoring.fast.precision import Product
from satori_hpc.scoring.fast.rules import Rule


class Lstm:
    """All layers and both directions of an LSTM, with a hand-written backward pass.

    Args:
        lstm: bidirectional, batch first, as torch has it.
        dtype: to compute in.
    """

    def __init__(self, lstm: nn.LSTM, dtype: torch.dtype) -> None:
        self._layers = [
            [_Direction(lstm, layer, reverse=reverse, dtype=dtype) for reverse in (False, True)]
            for layer in range(lstm.num_layers)
        ]

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, list["_States"]]:
        """Run (N * R, n, inputs) -> (N * R, n, 2 * size); also return the state for `back`."""
        saved = []
        for directions in self._layers:
            states = [direction.forward(tokens) for direction in directions]
            saved += states
            tokens = torch.cat([state.hidden for state in states], dim=-1)
        return tokens, saved

    def back(self, rule: Rule, multipliers: torch.Tensor, saved: list["_States"]) -> torch.Tensor:
        """Propagate multipliers (S * R, n, 2 * size) -> (S * R, n, inputs)."""
        for layer in reversed(range(len(self._layers))):
            halves = multipliers.chunk(2, dim=-1)
            multipliers = sum(
                direction.back(rule, half, states)
                for direction, half, states in zip(
                    self._layers[layer], halves, saved[2 * layer : 2 * layer + 2], strict=True
                )
            )  # type: ignore[assignment]
        return multipliers


class _States:
    """Values of one direction, in the order in which it runs, by step: (n, N * R, ...)."""

    def __init__(self, steps: int, like: torch.Tensor, size: int) -> None:
        self.before = like.new_empty(steps, len(like), 4 * size)  # gates before they are activated: i, f, g, o
        self.gates = like.new_empty(steps, len(like), 4 * size)
        self.cell = like.new_empty(steps + 1, len(like), size)
        self.squashed = like.new_empty(steps, len(like), size)
        self.hidden = like.new_empty(0)


class _Direction:
    def __init__(self, lstm: nn.LSTM, layer: int, *, reverse: bool, dtype: torch.dtype) -> None:
        suffix = f"l{layer}" + ("_reverse" if reverse else "")
        self.reverse = reverse
        self.size = lstm.hidden_size
        weight = getattr(lstm, f"weight_ih_{suffix}").detach().to(dtype)
        self.hidden = getattr(lstm, f"weight_hh_{suffix}").detach().to(dtype)
        biases = (getattr(lstm, f"bias_{which}_{suffix}").detach().to(dtype) for which in ("ih", "hh"))
        self.project, self.project_back = Product(weight, sum(biases, torch.zeros((), dtype=dtype))), Product(weight.T)

    def forward(self, tokens: torch.Tensor) -> _States:
        steps, size = tokens.shape[1], self.size
        projected = self.project(tokens).transpose(0, 1)
        projected = projected.flip(0) if self.reverse else projected
        saved = _States(steps, tokens, size)
        hidden = tokens.new_zeros(len(tokens), size)
        saved.cell[0] = 0
        every = tokens.new_empty(steps, len(tokens), size)
        for step in range(steps):
            before = torch.addmm(projected[step], hidden, self.hidden.T)
            gates = torch.sigmoid(before)
            gates[:, 2 * size : 3 * size] = torch.tanh(before[:, 2 * size : 3 * size])
            keep, forget, new, out = gates.chunk(4, dim=1)
            cell = forget * saved.cell[step] + keep * new
            squashed = torch.tanh(cell)
            hidden = out * squashed
            saved.before[step], saved.gates[step], saved.cell[step + 1], saved.squashed[step] = (
                before,
                gates,
                cell,
                squashed,
            )
            every[step] = hidden
        saved.hidden = (every.flip(0) if self.reverse else every).transpose(0, 1)
        return saved

    def back(self, rule: Rule, multipliers: torch.Tensor, saved: _States) -> torch.Tensor:
        """Propagate multipliers (S * R, n, size) of hidden states -> (S * R, n, inputs)."""
        size = self.size
        of_hidden = multipliers.transpose(0, 1)
        of_hidden = of_hidden.flip(0) if self.reverse else of_hidden
        steps = len(of_hidden)
        of_gates = of_hidden.new_empty(steps, of_hidden.shape[1], 4 * size)
        carried_hidden = carried_cell = of_hidden.new_zeros(of_hidden.shape[1:])
        for step in reversed(range(steps)):
            before, gates = saved.before[step], saved.gates[step]
            slope = rules.sigmoid_slope(rule, before, gates)
            new = slice(2 * size, 3 * size)
            slope[:, new] = rules.tanh_slope(rule, before[:, new], gates[:, new])
            keep_mean, forget_mean, new_mean, out_mean = rule.middle(gates).chunk(4, dim=1)
            hidden = of_hidden[step] + carried_hidden
            squash_slope = rules.tanh_slope(rule, saved.cell[step + 1], saved.squashed[step])
            cell = carried_cell + hidden * out_mean * squash_slope
            of_gate = torch.cat(
                (
                    cell * new_mean,
                    cell * rule.middle(saved.cell[step]),
                    cell * keep_mean,
                    hidden * rule.middle(saved.squashed[step]),
                ),
                dim=1,
            ).mul_(slope)
            of_gates[step] = of_gate
            carried_hidden = of_gate @ self.hidden
            carried_cell = cell * forget_mean
        of_gates = of_gates.flip(0) if self.reverse else of_gates
        return self.project_back(of_gates.transpose(0, 1))
