"""What all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says nothing here: the first one pays for imports, and machines are shared. The same commit
# is always tried with the same examples; HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("project", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "project"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The larger real data beside the checkout (or in CENTERTRACK_SHARED_DATA); skips, with the reason, without it."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CENTERTRACK_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"needs the data folder {folder}")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in test/ros needs ROS 2 and runs on both distributions: it is marked so here, once."""
    folder = Path(__file__).resolve().parent / "ros"
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.ros)
