"""Attention over motif hits, bin by bin in NumPy: what models.motif_tokens computes in evaluation mode."""

import numpy as np

from tests.oracles import motif_oracle

LETTERS = 4


def bin_values(tokens: np.ndarray, tables: list[np.ndarray], background: np.ndarray, *, share: float, p: float,
                compete: bool, pool: int) -> np.ndarray:  # fmt: skip
    """(B, n, M): 8 (s - t) / (max - t) of the best hit of a motif that is centred in a bin."""
    hits = motif_oracle.hits(tokens, tables, background, share=share, p=p)
    owner = motif_oracle.compete(hits, 0.25) if compete else list(range(len(hits)))
    values = np.zeros((len(tokens), -(-tokens.shape[1] // pool), len(tables)))
    for row, (example, start, end, number, _, score, _) in enumerate(hits):
        if owner[row] != row:
            continue
        table, best = tables[number], int(tables[number].max(axis=1).sum())
        least = next(s for s in range(1, best + 1) if s == best
                     or (s > share * best and motif_oracle.tail(table, background, s) <= p * (1 + 1e-9)))  # fmt: skip
        value = 8 * (score - (least - 0.5)) / (best - (least - 0.5))
        bin = (start + end) // 2 // pool
        values[example, bin, number] = max(values[example, bin, number], value)
    return values


def filter_values(tokens: np.ndarray, weight: np.ndarray, bias: np.ndarray, pool: int) -> np.ndarray:
    """(B, n, F): ReLU of the better strand of a filter centred at a place, the largest in a bin; places beyond
    the ends score nothing."""
    filters, _, width = weight.shape
    bins = -(-tokens.shape[1] // pool)
    values = np.zeros((len(tokens), bins, filters))
    for example, row in enumerate(tokens):
        for number in range(filters):
            for centre in range(bins * pool):
                strands = [0.0, 0.0]
                for k in range(width):
                    place = centre - width // 2 + k
                    if 0 <= place < len(row) and row[place] < LETTERS:
                        strands[0] += weight[number, row[place], k]
                        strands[1] += weight[number, 3 - row[place], width - 1 - k]
                value = max(0.0, max(strands) + bias[number])
                values[example, centre // pool, number] = max(values[example, centre // pool, number], value)
    return values


def read(tokens: np.ndarray, weights: dict[str, np.ndarray], heads: int) -> tuple[np.ndarray, np.ndarray]:
    """(logits (B, T), attention (B, h, n, n)) of bins (B, n, M + F)."""
    project, distance = weights["project.motifs"], weights["attention.distance"]
    if "project.filters" in weights:
        project = np.concatenate([project, weights["project.filters"].T])
    size = project.shape[1] // 4
    logits, attention = [], []
    for bins in tokens:
        query, key, value, around = (bins @ project[:, i * size : (i + 1) * size] for i in range(4))
        read_out, kept = np.zeros_like(query), np.zeros((heads, len(bins), len(bins)))
        for head in range(heads):
            part = slice(head * size // heads, (head + 1) * size // heads)
            for i in range(len(bins)):
                scores = [
                    query[i, part] @ key[j, part] / np.sqrt(size / heads) + distance[head, np.clip(j - i, -16, 16) + 16]
                    for j in range(len(bins))
                ]
                kept[head, i] = np.exp(scores) / np.exp(scores).sum()
                read_out[i, part] = kept[head, i] @ value[:, part]
        mixed = np.maximum(read_out, 0) @ weights["attention.mix.weight"].T + weights["attention.mix.bias"]
        outputs = np.maximum(mixed + around + weights["bias"], 0).sum(axis=0)
        logits.append(weights["output.weight"] @ outputs + weights["output.bias"])
        attention.append(kept)
    return np.array(logits), np.array(attention)
