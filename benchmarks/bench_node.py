#!/usr/bin/env python3
"""Frames per second of the node with the embedded model, through DDS, for a 4:3 camera: 512x384 in the network; JSON.

Images are sent one after the other, the next as soon as the last is answered; subscribers take everything that the node
publishes but the debug images. `fps` is what the node needs of its own time; that it takes to be heard of is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--cameras", type=int, default=1)
    args = parser.parse_args()
    os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 100 + 1))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if "FASTRTPS_DEFAULT_PROFILES_FILE" not in os.environ:
        os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(ROOT / "config" / "fastdds.xml"))
    from benchmarks import node_overhead

    asked = argparse.Namespace(frames=args.frames, size=(640, 480), cameras=args.cameras, transport="raw", threads=0)
    cameras, receiving = node_overhead.measure(asked)
    timings = [timing for camera in cameras for timing in camera.timings[10:]]
    whole = np.array([timing.processing_ms for timing in timings]) + receiving
    network = np.array([timing.network_ms for timing in timings])
    print(
        json.dumps(
            {
                "fps": 1e3 * args.cameras / float(np.median(whole)),
                "frame_ms": float(np.median(whole)),
                "network_ms": float(np.median(network)),
                "latency_ms": float(np.median([timing.latency_ms for timing in timings])),
                "frames": len(timings),
                "objects": cameras[0].objects,
            }
        )
    )


if __name__ == "__main__":
    main()
