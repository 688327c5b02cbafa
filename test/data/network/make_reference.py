# SPDX-License-Identifier: Apache-2.0
"""Cuts the official numbers that the network's tests need out of the full reference: make_reference.py REFERENCE_DIR.

REFERENCE_DIR holds state_dicts.json and parity/. Written beside this script: state_dicts.json.gz (names and shapes of
every official variant), raw_heads.json.gz (raw output of four seeded networks, frames 0 and 1), dcn.npz, decode.npz,
preprocess.npz and preprocess.json.gz.
"""

import gzip
import json
import shutil
import sys
from pathlib import Path

import numpy as np

SAMPLES = 60  # values kept of every tensor
PREPROCESS = (0, 5, 7, 8)  # fixed size, keep_res, fix_short in both orientations
CONFIGS = ("coco_tracking_256x256", "kitti_tracking_192x640", "mot17_288x480", "nuscenes_3dtracking_224x416")


def sampled(tensor: dict) -> dict:
    step = max(1, len(tensor["idx"]) // SAMPLES)
    return {"idx": tensor["idx"][::step], "val": [float(f"{v:.8g}") for v in tensor["val"][::step]]}


def raw_heads(full: dict) -> dict:
    frames = []
    for entry in full["per_frame"][:2]:
        frames.append(
            {
                "sha256": entry["frame_sha256"],
                "affine": entry["trans_input"],
                "input": sampled(entry["input"]),
                "prior": {**sampled(entry["pre_hm"]), "nonzero": entry["pre_hm"]["nonzero"]},
                "raw": {head: sampled(tensor) for head, tensor in entry["raw_heads"].items()},
                "tracks": [{key: track[key] for key in ("bbox", "score", "active")} for track in entry["results"]],
            }
        )
    options = {key: full["opt"][key] for key in ("heads", "input_h", "input_w", "pre_thresh")}
    kept = {key: full[key] for key in ("head_scale", "state_dict")}
    return {**kept, "clip": full["frames"], "options": options, "per_frame": frames}


def preprocess(entry: dict) -> dict:
    meta = entry["meta"]
    image = {key: entry[key] for key in ("h", "w", "seed", "n_obj")}
    return {**image, "affine": meta["trans_input"], "size": [meta["inp_height"], meta["inp_width"]]}


def write(path: Path, content: object) -> None:
    text = json.dumps(content, separators=(",", ":")).encode()
    path.write_bytes(gzip.compress(text, mtime=0))


def main(reference: Path) -> None:
    here = Path(__file__).parent
    parity = reference / "parity"
    shutil.copyfile(parity / "parity_inputs.py", here.parent / "parity" / "parity_inputs.py")
    shutil.copyfile(parity / "functions" / "dcn.npz", here / "dcn.npz")
    write(here / "state_dicts.json.gz", json.loads((reference / "state_dicts.json").read_text()))
    write(
        here / "raw_heads.json.gz",
        {name: raw_heads(json.loads((parity / f"{name}.json").read_text())) for name in CONFIGS},
    )
    decoded = np.load(parity / "functions" / "decode_3d_all.npz")
    kept = {key: decoded[key] for key in ("in_hm", "out_scores", "out_clses", "out_cts")}
    np.savez_compressed(here / "decode.npz", **kept)
    entries = json.loads((parity / "functions" / "preprocess.json").read_text())
    arrays = np.load(parity / "functions" / "preprocess_arrays.npz")
    np.savez_compressed(here / "preprocess.npz", **{f"input_{i}": arrays[f"input_{i}"] for i in PREPROCESS})
    write(here / "preprocess.json.gz", {i: preprocess(entries[i]) for i in PREPROCESS})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
