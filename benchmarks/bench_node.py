#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Frames per second of the node with the embedded model, through DDS, for a camera of 640x480; JSON.

    python -m benchmarks.bench_node [--frames 150] [--cameras 1]

Images are published one by one, the next one when the result of the last one is there; everything that the node
publishes has a subscriber, but the debug images. `fps` is by the node's own working time, without transport.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from benchmarks import node_overhead
from benchmarks.node_client import use_local_ros


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--cameras", type=int, default=1)
    args = parser.parse_args()
    use_local_ros()
    cameras, receiving = node_overhead.measure(args.frames, (640, 480), args.cameras)
    timings = [timing for camera in cameras for timing in camera.timings[node_overhead.WARM_UP :]]
    frame_ms = np.array([timing.processing_ms for timing in timings]) + receiving
    figures = {
        "fps": 1e3 * args.cameras / float(np.median(frame_ms)),
        "frame_ms": float(np.median(frame_ms)),
        "network_ms": float(np.median([timing.network_ms for timing in timings])),
        "latency_ms": float(np.median([timing.latency_ms for timing in timings])),
        "frames": len(timings),
        "objects": cameras[0].objects,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
