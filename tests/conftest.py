"""Shared fixtures; one thread per process, so that tests neither fight for cores nor depend on their number."""

import os
from collections import Counter

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)

pytest_plugins = ["tests.fixtures.runs", "tests.fixtures.guests"]  # a tiny run ready to be scored; plug-ins


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Hand files with slow tests to the processes of xdist first, lest one of them is left when all others are done."""
    if hasattr(config, "workerinput"):
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):  # type: ignore[no-untyped-def]
    """Where everything must run (SATORI_REQUIRE_ALL_TESTS, set by CI), a skip is a failure, save for a missing GPU."""
    report = yield
    if report.skipped and os.environ.get("SATORI_REQUIRE_ALL_TESTS") and item.get_closest_marker("gpu") is None:
        report.outcome = "failed"
        report.longrepr = f"skipped although all tests must run here: {report.longrepr}"
    return report
