# SPDX-License-Identifier: Apache-2.0
"""What an export for a GPU depends on, beside the weights and this package."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

# The same library under the names of its builds.
_LIBRARIES = {
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu11"),
    "onnxruntime-gpu": ("onnxruntime-gpu",),
}


def facts(device: str) -> dict[str, str]:
    """Name and compute capability of a GPU, torch's CUDA, and the versions of what can run on it.

    Args:
        device: 'cuda', 'cuda:1', …

    Raises:
        ValueError: torch sees no such GPU.
    """
    import torch

    if not torch.cuda.is_available():
        raise ValueError("torch sees no NVIDIA GPU here")
    major, minor = torch.cuda.get_device_capability(device)
    return {
        "GPU": torch.cuda.get_device_name(device),
        "compute capability": f"{major}.{minor}",
        "CUDA": str(torch.version.cuda),
        **libraries(),
    }


def libraries(names: Mapping[str, tuple[str, ...]] = _LIBRARIES) -> dict[str, str]:
    """Versions of the libraries for GPUs, 'absent' where one is not installed.

    Args:
        names: Library -> names of its distributions.
    """
    found = {}
    for library, distributions in names.items():
        found[library] = "absent"
        for name in distributions:
            try:
                found[library] = metadata.version(name)
                break
            except metadata.PackageNotFoundError:
                continue
    return found
