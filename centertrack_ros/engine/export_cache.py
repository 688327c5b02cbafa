"""Where exported networks are kept, and when a kept one may be used.

A network that was exported for this machine lies in a folder of its own: beside the weights as
`<weights>.engines/<key>/`, or, where that cannot be written, in `$XDG_CACHE_HOME/centertrack_ros/<key>/`. The key is a
hash of all that the answer depends on; `manifest.json` in the folder states it in words, and a hash of each file.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from centertrack_ros import __version__

MANIFEST = "manifest.json"
_HALF_S = 3600.0  # what has not been finished by then never will be
_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino")
# What a CPU can do that decides which code a runtime makes.
_CPU_FLAGS = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "amx_bf16",
    "asimd",
    "sve",
)


class StaleEntry(ValueError):
    """A kept engine that may not be used; the message says why."""


@dataclass(frozen=True)
class Entry:
    """One kept export: its folder and what its manifest says."""

    folder: Path
    manifest: dict[str, Any]

    def path(self, name: str) -> Path:
        return self.folder / name


def content_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@cache
def versions() -> dict[str, str]:
    """Of this package, of the code that defines networks, of what exports and runs them; 'absent' if not installed."""
    found = {"centertrack_ros": __version__, "network": _source_digest()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def _source_digest() -> str:
    package = Path(__file__).resolve().parent.parent
    files = [*sorted((package / "network").glob("*.py")), package / "engine" / "export.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


@cache
def cpu() -> dict[str, str]:
    """The processor's name and those of its abilities that matter."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {"name": platform.processor() or platform.machine(), "flags": ""}
    lines = dict(
        (key.strip(), value.strip())
        for key, colon, value in (line.partition(":") for line in text.splitlines())
        if colon
    )
    present = set((lines.get("flags") or lines.get("Features") or "").split())
    flags = " ".join(flag for flag in _CPU_FLAGS if flag in present)
    return {"name": lines.get("model name", platform.machine()), "flags": flags}


def facts(weights: Path, flip_test: bool = False, variant: str = "f32") -> dict[str, Any]:
    """All that an export for this machine depends on."""
    options = {"flip_test": flip_test, "variant": variant}
    return {"weights": content_hash(weights), "options": options, "versions": versions(), "cpu": cpu()}


def key(wanted: dict[str, Any]) -> str:
    """A name for these facts."""
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:20]


def places(weights: Path) -> list[Path]:
    """Folders in which exports of these weights are kept, best first."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return [weights.with_name(f"{weights.stem}.engines"), Path(home) / "centertrack_ros"]


def find(weights: Path, flip_test: bool = False, variant: str = "f32") -> tuple[Entry | None, list[str]]:
    """(the kept export of these weights for this machine or None, a line for everything kept that is not usable)."""
    wanted = facts(weights, flip_test, variant)
    name = key(wanted)
    complaints: list[str] = []
    for place in places(weights):
        folder = place / name
        if folder.is_dir():
            try:
                return read(folder, wanted), complaints
            except StaleEntry as error:
                complaints.append(f"kept engine {folder} is not used: {error}")
        elif place.name.endswith(".engines") and (others := _others(place, wanted)):
            complaints.append(f"kept engine {others[0][0]} is not used: {others[0][1]}")
    return None, complaints


def _others(place: Path, wanted: dict[str, Any]) -> list[tuple[Path, str]]:
    """Exports of the same kind under other keys, newest first, and what is different about them."""
    found = []
    for manifest in sorted(place.glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            kept = json.loads(manifest.read_text(encoding="utf-8"))["facts"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if kept.get("options") == wanted["options"]:
            found.append((manifest.parent, difference(kept, wanted)))
    return found


def read(folder: Path, wanted: dict[str, Any]) -> Entry:
    """The export in a folder. Raises StaleEntry if it is of other facts, or damaged."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        kept, files = dict(manifest["facts"]), dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StaleEntry(f"its manifest cannot be read ({type(error).__name__})") from None
    if kept != wanted:
        raise StaleEntry(difference(kept, wanted))
    for name, digest in files.items():
        try:
            damaged = content_hash(folder / name) != digest
        except OSError:
            damaged = True
        if damaged:
            raise StaleEntry(f"{name} is damaged or missing")
    return Entry(folder, manifest)


def difference(kept: dict[str, Any], wanted: dict[str, Any]) -> str:
    """In words, the first difference between the facts of a kept export and those that are wanted."""
    if kept.get("weights") != wanted["weights"]:
        return "it was made from other weights"
    for name, version in wanted["versions"].items():
        if (old := kept.get("versions", {}).get(name)) != version:
            return f"it was made with {name} {old}, here is {version}"
    if kept.get("cpu") != wanted["cpu"]:
        return f"it was made for another CPU ({kept.get('cpu', {}).get('name')}), here is {wanted['cpu']['name']}"
    return "it was made for other options"


@contextmanager
def writing(weights: Path, wanted: dict[str, Any]) -> Iterator[Path]:
    """A fresh folder to fill; it becomes the kept export as a whole when the block ends well, or vanishes.

    Raises OSError when none of the places can be written.
    """
    target, fresh = _fresh_folder(weights, key(wanted))
    try:
        yield fresh
        fresh.chmod(0o755)  # a temporary folder is its owner's alone
        if target.exists():
            shutil.rmtree(target, ignore_errors=True)
        os.replace(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _fresh_folder(weights: Path, name: str) -> tuple[Path, Path]:
    problem: OSError | None = None
    for place in places(weights):
        try:
            place.mkdir(parents=True, exist_ok=True)
            _remove_halves(place)
            return place / name, Path(tempfile.mkdtemp(prefix=f".{name}.", dir=place))
        except OSError as error:
            problem = error
    assert problem is not None
    raise problem


def _remove_halves(place: Path) -> None:
    """Folders that were never finished: who filled them was killed, or the machine went off."""
    for folder in place.glob(".*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _HALF_S:
                shutil.rmtree(folder, ignore_errors=True)


def seal(folder: Path, wanted: dict[str, Any], content: dict[str, Any]) -> None:
    """Write the manifest of a filled folder: its facts, the hashes of its files, and `content`."""
    files = {path.name: content_hash(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    manifest = {"facts": wanted, "files": files, **content}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def prune(entry: Entry) -> None:
    """Remove what `entry` replaces: exports of the same weights and options for the same CPU under other keys."""
    wanted = entry.manifest["facts"]
    for folder, _ in _others(entry.folder.parent, wanted):
        try:
            kept = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["facts"]
        except (OSError, ValueError, KeyError):
            continue
        if folder != entry.folder and kept.get("weights") == wanted["weights"] and kept.get("cpu") == wanted["cpu"]:
            shutil.rmtree(folder, ignore_errors=True)
