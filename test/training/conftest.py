# SPDX-License-Identifier: Apache-2.0
"""What several tests of training share."""

from pathlib import Path

import pytest

from support.moving_square import write_moving_square


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A folder with a video of a moving square and its annotations."""
    return write_moving_square(tmp_path / "video")
