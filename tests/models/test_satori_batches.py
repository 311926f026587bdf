"""In evaluation, what the network says of a sequence never depends on its batch (the original's does, twice over)."""

import pytest
import torch

from satori_hpc.config import Model
from satori_hpc.models import build
from satori_hpc.models.predict import predict

VARIANTS = {
    "basic": {},
    "deep": {"architecture": "deep", "block_widths": (12, 16)},
    "recurrent": {"recurrent": True, "recurrent_size": 10},
    "positions": {"positions": True},
    "exp": {"activation": "exp"},
    "legacy_batchnorm": {"readout": "legacy_batchnorm"},
    "flatten": {"readout": "flatten"},
    "two": {"output": "two"},
    "multilabel": {},
}


def trained(variant: str) -> torch.nn.Module:
    """A network whose running statistics have seen a few batches."""
    torch.manual_seed(1)
    task = "multilabel" if variant == "multilabel" else "binary"
    settings = {"num_filters": 24, "num_heads": 4, "head_dim": 8, "mixing_size": 20, **VARIANTS[variant]}
    model = build(Model(**settings), length=80, targets=3 if task == "multilabel" else 1, task=task, entropy=0)
    for _ in range(5):
        model(torch.randint(0, 4, (16, 80), dtype=torch.uint8))
    return model.eval()


@pytest.mark.parametrize("variant", list(VARIANTS))
@torch.inference_mode()
def test_batches_do_not_matter(variant):
    model = trained(variant)
    tokens = torch.randint(0, 5, (19, 80), dtype=torch.uint8)
    # Batch mates as unlike as they come: a batch of unknowns would pull any shared statistic.
    strange = torch.full((13, 80), 4, dtype=torch.uint8)
    alone = [model(row[None], attention=True) for row in tokens]
    logits = torch.cat([output.logits for output in alone])
    attention = torch.cat([output.attention for output in alone])
    order = torch.randperm(19)
    together = model(tokens[order], attention=True)
    mixed = model(torch.cat((strange, tokens)), attention=True)
    for found, wanted in (
        (together.logits, logits[order]),
        (mixed.logits[13:], logits),
        (together.attention, attention[order]),
        (mixed.attention[13:], attention),
    ):
        scale = max(1.0, float(wanted.abs().max()))
        assert float((found - wanted).abs().max()) <= 1e-6 * scale
    found = predict(model, tokens.numpy(), batch_size=7)
    assert float((found - logits).abs().max()) <= 1e-6 * max(1.0, float(logits.abs().max()))


def test_training_mode_does_depend_on_the_batch():
    """Shows that the test above can fail: with batch statistics it would."""
    model = trained("legacy_batchnorm").train()
    tokens = torch.randint(0, 4, (8, 80), dtype=torch.uint8)
    with torch.no_grad():
        torch.manual_seed(0)
        alone = model(tokens[:1]).logits
        torch.manual_seed(0)
        together = model(tokens).logits[:1]
    assert float((alone - together).abs().max()) > 1e-3
