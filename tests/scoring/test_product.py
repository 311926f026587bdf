"""Products with frozen weights against F.linear, with and without oneDNN."""

import platform

import pytest
import torch
import torch.nn.functional as F

from satori_hpc.scoring.fast import precision
from satori_hpc.scoring.fast.precision import Product


@pytest.fixture(params=["onednn", "plain"])
def road(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(precision, "_available", lambda: False)
    return request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(7, 20), (3, 5, 20), (2, 3, 4, 20), (0, 20)])
@pytest.mark.parametrize("bias", [True, False])
def test_as_linear(road, dtype, shape, bias):
    torch.manual_seed(1)
    weight, values = torch.randn(12, 20, dtype=dtype), torch.randn(*shape, dtype=dtype)
    offset = torch.randn(12, dtype=dtype) if bias else None
    for given in (weight, weight.T.contiguous().T):  # however it lies in memory
        with torch.inference_mode():
            found = Product(given, offset)(values)
        torch.testing.assert_close(found, F.linear(values, weight, offset), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN's advantage is known on x86-64 only")
def test_the_fast_road_is_taken_here():
    assert Product(torch.ones(2, 3))._packed is not None, "torch has moved its oneDNN operators: see product.py"


def test_a_row_does_not_depend_on_the_rows_beside_it():
    torch.manual_seed(2)
    made, values = Product(torch.randn(200, 96), torch.randn(200)), torch.randn(500, 96)
    whole = made(values)
    for size in (75, 100, 333):
        torch.testing.assert_close(torch.cat([made(part) for part in values.split(size)]), whole, rtol=0, atol=0)


def test_values_and_weights_that_do_not_lie_in_order(road):
    torch.manual_seed(3)
    weight, values = torch.randn(6, 4), torch.randn(4, 5, 3)
    torch.testing.assert_close(Product(weight)(values.permute(2, 1, 0)), F.linear(values.permute(2, 1, 0), weight))


def test_made_in_inference_mode_and_used_outside_it(road):
    with torch.inference_mode():
        made = Product(torch.ones(2, 3))
    assert made(torch.ones(1, 3)).tolist() == [[3, 3]]


def test_under_autocast_products_are_rounded(road):
    made, values = Product(torch.randn(8, 64)), torch.randn(5, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert made(values).dtype == torch.bfloat16
