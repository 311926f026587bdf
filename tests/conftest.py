"""Shared fixtures; one thread per process, so that tests neither fight for cores nor depend on their number."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)

pytest_plugins = ["tests.fixtures.runs", "tests.fixtures.guests"]  # a tiny run ready to be scored; plug-ins


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):  # type: ignore[no-untyped-def]
    """Where everything must run (SATORI_REQUIRE_ALL_TESTS, set by CI), a skip is a failure, save for a missing GPU."""
    report = yield
    if report.skipped and os.environ.get("SATORI_REQUIRE_ALL_TESTS") and item.get_closest_marker("gpu") is None:
        report.outcome = "failed"
        report.longrepr = f"skipped although all tests must run here: {report.longrepr}"
    return report
