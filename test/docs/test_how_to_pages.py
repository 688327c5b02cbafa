# SPDX-License-Identifier: Apache-2.0
"""The code of the pages "how to add …" works as it stands, in a process of its own for each page."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(path.name for path in DOCS.glob("add_*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


def test_there_is_a_page_for_each_part_that_can_be_extended() -> None:
    assert PAGES == ["add_association_cost.md", "add_backbone.md", "add_dataset.md", "add_engine.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_works(page: str, tmp_path: Path) -> None:
    blocks = BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))
    assert len(blocks) >= 2
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_library_example_prints_tracks(page: str, tmp_path: Path) -> None:
    (block,) = BLOCK.findall((DOCS.parent / page).read_text(encoding="utf-8"))
    shutil.copy(DOCS / "demo.jpg", tmp_path / "frame.jpg")
    block = block.replace("video.mp4", "frame.jpg")
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("[1 2")
    assert len((DOCS.parent / "README.md").read_bytes()) < 8000
