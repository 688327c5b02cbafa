# SPDX-License-Identifier: Apache-2.0
"""The cache of exported networks, and when a cached export is valid.

Each export has its own folder: beside the weights as `<weights>.engines/<hash>/`, or, where that cannot be written, in
`$XDG_CACHE_HOME/centertrack_ros/<hash>/`. The hash is that of the cache key, which holds everything that the export
depends on; `manifest.json` in the folder states the cache key ('facts') and a hash of each file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from centertrack_ros import __version__
from centertrack_ros.engine.trust import distrust
from centertrack_ros.typed_records import shown

MANIFEST = "manifest.json"
_LOG = logging.getLogger(__name__)
_UNFINISHED_S = 3600.0  # age after which an unfinished export is abandoned
_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino")
# Features of a CPU that decide which code a runtime generates.
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


class StaleEntryError(ValueError):
    """A cached export is not valid; the message says why."""


@dataclass(frozen=True)
class CachedExport:
    """One cached export.

    Attributes:
        folder: Holds its files.
        manifest: Content of its `manifest.json`.
    """

    folder: Path
    manifest: dict[str, Any]

    def path(self, name: str) -> Path:
        """The file of this name."""
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
    """Versions of this package, of the code that defines networks, and of the packages that export and run them.

    Returns:
        Name -> version, 'absent' if it is not installed.
    """
    installed = {"centertrack_ros": __version__, "network": _source_digest()}
    for name in _PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "absent"
    return installed


def _source_digest() -> str:
    package = Path(__file__).resolve().parent.parent
    files = [*sorted((package / "network").glob("*.py")), package / "engine" / "export.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


@cache
def cpu() -> dict[str, str]:
    """The processor's 'name' and its relevant 'flags'."""
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


def cache_key(
    weights: Path, flip_test: bool = False, variant: str = "f32", gpu: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Everything that an export for this machine depends on.

    Args:
        weights: The file; its content counts.
        flip_test: Whether the export averages with the mirrored image.
        variant: 'f32', 'bf16' or 'fp16'.
        gpu: Of `engine.gpu.facts`, for the engines that run there; None: for those that run on the CPU.
    """
    options = {"flip_test": flip_test, "variant": variant}
    key = {"weights": content_hash(weights), "options": options, "versions": versions(), "cpu": cpu()}
    return key if gpu is None else {**key, "options": {**options, "device": "gpu"}, "gpu": dict(gpu)}


def _folder_name(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]


def _cache_folders(weights: Path) -> list[Path]:
    """Folders in which exports of these weights can be, the preferred one first."""
    return [weights.with_name(f"{weights.stem}.engines"), user_folder()]


def user_folder() -> Path:
    """The user's folder for exports: by XDG_CACHE_HOME, else in the home, else, without one, among temporary files."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # a relative one is to be ignored, says the XDG specification
        return Path(given) / "centertrack_ros"
    try:
        return Path.home() / ".cache" / "centertrack_ros"
    except RuntimeError:  # neither HOME nor an entry in passwd, as in a container with a foreign user id
        return _cache_without_home()


@cache
def _cache_without_home() -> Path:
    name = f"centertrack_ros-{os.getuid()}"
    try:
        folder = Path(tempfile.gettempdir()) / name
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():  # put there by somebody else: not trusted
            folder = Path(tempfile.mkdtemp(prefix=folder.name))
    except OSError:  # a file system that cannot be written, without a /tmp of its own
        _LOG.warning("no folder can be written: exported engines are not kept; XDG_CACHE_HOME=… is a place for them")
        return Path(os.devnull, name)  # nothing is found there, and nobody can put anything there
    _LOG.warning("this user has no home: exported engines are in %s; XDG_CACHE_HOME=… is another place", folder)
    return folder


def compiled_folder(weights: Path) -> Path | None:
    """Folder in which a runtime caches what it compiled from these weights without an export; made if necessary.

    Args:
        weights: The file; its content counts.

    Returns:
        The folder; None where none can be written and trusted, after a line in the log.
    """
    for parent in _cache_folders(weights):
        folder = parent / f"compiled-{content_hash(weights)[:20]}"
        try:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError:
            continue
        if reason := distrust(folder):
            _LOG.warning("compiled networks in %s are not used: %s", folder, reason)
        elif os.access(folder, os.W_OK):
            return folder
    return None


def find(
    weights: Path, flip_test: bool = False, variant: str = "f32", gpu: Mapping[str, str] | None = None
) -> tuple[CachedExport | None, list[str]]:
    """Find the cached export of these weights for this machine.

    Args:
        weights: The file.
        flip_test: See `cache_key`.
        variant: See `cache_key`.
        gpu: See `cache_key`.

    Returns:
        The export, or None, and a warning for every cached export that is not valid.
    """
    key = cache_key(weights, flip_test, variant, gpu)
    warnings: list[str] = []
    for parent in _cache_folders(weights):
        folder = parent / _folder_name(key)
        if folder.is_dir():
            try:
                return read(folder, key), warnings
            except StaleEntryError as error:
                warnings.append(f"cached engine {folder} is not used: {error}")
        elif parent.name.endswith(".engines") and (others := _others(parent, key)):
            warnings.append(f"cached engine {others[0][0]} is not used: {others[0][1]}")
    return None, warnings


def _others(parent: Path, key: dict[str, Any]) -> list[tuple[Path, str]]:
    """Exports with the same options under other keys, newest first, and their difference."""
    others = []
    for manifest in sorted(parent.glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            cached = _manifest(manifest.parent)["facts"]
        except StaleEntryError:
            continue
        if cached.get("options") == key["options"]:
            others.append((manifest.parent, _difference(cached, key)))
    return others


def read(folder: Path, key: dict[str, Any]) -> CachedExport:
    """Read the export in a folder.

    Args:
        folder: Of one export.
        key: The requested cache key.

    Raises:
        StaleEntryError: It has another key, is damaged, or others can write into it.
    """
    if reason := distrust(folder):
        raise StaleEntryError(reason)
    manifest = _manifest(folder)
    if manifest["facts"] != key:
        raise StaleEntryError(_difference(manifest["facts"], key))
    for name, digest in manifest["files"].items():
        try:
            damaged = content_hash(folder / name) != digest
        except OSError:
            damaged = True
        if damaged:
            raise StaleEntryError(f"{name} is damaged or missing")
    return CachedExport(folder, manifest)


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest in a folder: 'facts', 'files' and 'engines', each a mapping. Raises StaleEntryError without one."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StaleEntryError(f"its manifest cannot be read ({type(error).__name__})") from None
    if not isinstance(manifest, dict):
        raise StaleEntryError("its manifest cannot be read (not a mapping)")
    manifest.setdefault("engines", {})
    for name in ("facts", "files", "engines"):
        if not isinstance(manifest.get(name), dict):
            raise StaleEntryError(f"its manifest cannot be read ('{name}' is not a mapping)")
    if not all(isinstance(result, dict) for result in manifest["engines"].values()):
        raise StaleEntryError("its manifest cannot be read ('engines' holds something else than results)")
    return manifest


def _plain(value: Any) -> str:
    """A value of a manifest without the quotes of a text."""
    return shown(value).strip("'")


def _difference(cached: dict[str, Any], requested: dict[str, Any]) -> str:
    """The first difference between two cache keys, as a clause."""
    if cached.get("weights") != requested["weights"]:
        return "it was made from other weights"
    versions, cpu = cached.get("versions"), cached.get("cpu")
    for name, version in requested["versions"].items():
        if (old := versions.get(name) if isinstance(versions, dict) else None) != version:
            return f"it was made with {name} {_plain(old)}, here is {version}"
    if cpu != requested["cpu"]:
        other = cpu.get("name") if isinstance(cpu, dict) else cpu
        return f"it was made for another CPU ({_plain(other)}), here is {requested['cpu']['name']}"
    return _gpu_difference(cached.get("gpu"), requested.get("gpu")) or "it was made for other options"


def _gpu_difference(cached: Any, requested: Mapping[str, str] | None) -> str:
    """The first difference between two GPUs or their libraries, as a clause; '' if there is none."""
    for name, here in (requested or {}).items():
        if (old := cached.get(name) if isinstance(cached, dict) else None) != here:
            return f"it was made with {name} {_plain(old)}, here is {here}"
    return ""


@contextmanager
def writing(weights: Path, key: dict[str, Any]) -> Iterator[Path]:
    """Context manager: gives a new folder to fill. After success it becomes the cached export, else it is removed.

    Args:
        weights: The file.
        key: Of `cache_key`.

    Raises:
        OSError: None of the cache folders can be written.
    """
    target, temporary = _temporary_folder(weights, _folder_name(key))
    try:
        yield temporary
        temporary.chmod(0o755)  # only the owner can read a temporary folder
        if target.exists():
            shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary_folder(weights: Path, name: str) -> tuple[Path, Path]:
    """The final folder of an export, and a temporary folder beside it."""
    problem: OSError | None = None
    for parent in _cache_folders(weights):
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _remove_unfinished(parent)
            return parent / name, Path(tempfile.mkdtemp(prefix=f".{name}.", dir=parent))
        except OSError as error:
            problem = error
    assert problem is not None
    raise problem


def _remove_unfinished(parent: Path) -> None:
    """Removes temporary folders of processes that were killed."""
    for folder in parent.glob(".*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _UNFINISHED_S:
                shutil.rmtree(folder, ignore_errors=True)


def write_manifest(folder: Path, key: dict[str, Any], content: dict[str, Any]) -> None:
    """Write the manifest of a filled folder: cache key, hashes of the files, and further content.

    Args:
        folder: Of `writing`.
        key: Of `cache_key`.
        content: Further entries of the manifest.
    """
    files = {path.name: content_hash(path) for path in sorted(folder.iterdir()) if path.is_file()}
    manifest = {"facts": key, "files": files, **content}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def prune(cached: CachedExport) -> None:
    """Remove older exports of the same weights and options for the same CPU.

    Args:
        cached: The export that replaces them.
    """
    key = cached.manifest["facts"]
    for folder, _ in _others(cached.folder.parent, key):
        try:
            other = _manifest(folder)["facts"]
        except StaleEntryError:
            continue
        same = all(other.get(name) == key.get(name) for name in ("weights", "cpu")) and _same_gpu(other, key)
        if folder != cached.folder and same:
            shutil.rmtree(folder, ignore_errors=True)


def _same_gpu(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two cache keys are of one GPU, or of none."""
    names = [key.get("gpu", {}).get("GPU") if isinstance(key.get("gpu", {}), dict) else "" for key in (one, other)]
    return bool(names[0] == names[1])
