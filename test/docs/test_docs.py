# SPDX-License-Identifier: Apache-2.0
"""The documentation builds without a warning, its links lead somewhere, and a browser shows what belongs on a page."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tools import build_docs

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
# Page -> texts that a reader finds there.
TEXTS = {
    "index.html": ("Tracked objects, in 2D and 3D", "How to add a backbone", "Parameters", "API reference"),
    "messages.html": ("centertrack_ros/msg/TrackArray", "reset_reason", "STATE_LOST", "builtin_interfaces/Duration"),
    "parameters.html": ("tracker.new_threshold", "output.fixed_frame", "unconfigured", "best_effort, reliable"),
    "cli.html": ("centertrack replay", "centertrack evaluate mot", "--results", "exit status 1"),
    "api/centertrack_ros.tracking.session.html": ("TrackingSession", "step", "Parameters", "Raises"),
    "api/centertrack_ros.ros.node.html": ("centertrack_ros.ros.node",),
}


class Page(HTMLParser):
    """What a page links to, and the places in it that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (build_docs.packages() / "sphinx").is_dir():
        pytest.skip("Sphinx is not installed: run `make setup-docs`")
    target = tmp_path_factory.mktemp("docs")
    assert build_docs.build(target) == 0
    return target


@pytest.mark.slow
def test_every_internal_link_leads_somewhere(pages: Path) -> None:
    parsed = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(pages.rglob("*.html"))}
    assert len(parsed) > 100
    broken, followed = [], 0
    for path, page in parsed.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            followed += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                broken.append(f"{path.relative_to(pages)}: {link}")
            elif parts.fragment and target in parsed and unquote(parts.fragment) not in parsed[target].ids:
                broken.append(f"{path.relative_to(pages)}: {link} (no such place)")
    assert followed > 1000
    assert not broken


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed: apt-get install chromium")
@pytest.mark.parametrize("name", TEXTS)
def test_a_browser_shows_the_text_of_a_page(pages: Path, name: str, tmp_path: Path) -> None:
    assert BROWSER is not None
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=5000",
    ]
    done = subprocess.run(
        [BROWSER, *options, "--dump-dom", (pages / name).as_uri()], capture_output=True, text=True, timeout=120
    )
    text = _visible_text(done.stdout)
    assert not [expected for expected in TEXTS[name] if expected not in text], done.stderr[-500:]


def _visible_text(dom: str) -> str:
    """The text of a document, with single spaces between words."""
    parts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = parts.append  # type: ignore[method-assign]
    parser.feed(dom)
    return " ".join("".join(parts).split())
