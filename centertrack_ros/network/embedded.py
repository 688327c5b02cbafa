"""The models inside this package, by name: each is `weights/<name>.safetensors`, with a card in `weights/README.md`."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "weights"
DEFAULT = "mobilenetv3-coco-track"


def names() -> tuple[str, ...]:
    """Of all embedded models."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.safetensors")))


def weights_path(weights: str | Path | None) -> Path:
    """The file that is meant: of the default model for None, '' and 'default', of the embedded model of that name, or
    just that path.

    Raises FileNotFoundError when there is no such file.
    """
    wanted = DEFAULT if weights is None or str(weights) in ("", "default") else str(weights)
    if wanted in names():
        return FOLDER / f"{wanted}.safetensors"
    path = Path(wanted).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no weights file at {path}, nor an embedded model of that name ({', '.join(names())})")
    return path
