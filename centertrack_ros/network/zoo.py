"""The official CenterTrack models: where they are, and the facts about them that their files do not hold.

Facts are those of the official experiment scripts and of readme/MODEL_ZOO.md in github.com/xingyizhou/CenterTrack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from centertrack_ros.network.profile import ModelProfile, Thresholds

# Official nuScenes weights saw cameras of about 1266 px focal length at 1600 px width, which is this at 800 px.
NUSCENES_FOCAL_LENGTH = 633.0


@dataclass(frozen=True)
class Task:
    """What the official options set for one data set: input size, thresholds, focal length of the depths (px)."""

    input_height: int
    input_width: int
    thresholds: Thresholds
    trained_focal_length: float | None = None


COCO = Task(512, 512, Thresholds(track=0.3, pre=0.3, new=0.3))
MOT = Task(544, 960, Thresholds(track=0.4, pre=0.5, new=0.4))
KITTI = Task(384, 1280, Thresholds(track=0.4, pre=0.4, new=0.4))
KITTI_HALF_SC = Task(384, 1280, Thresholds(track=0.4, pre=0.5, new=0.4))
NUSCENES = Task(448, 800, Thresholds(track=0.1, pre=0.1, new=0.3), NUSCENES_FOCAL_LENGTH)
# Detection only: all K boxes are kept.
NUSCENES_DETECTION = Task(448, 800, Thresholds(track=-1.0, new=0.3), NUSCENES_FOCAL_LENGTH)


@dataclass(frozen=True)
class ZooModel:
    """One official model: its public Google Drive file and its task."""

    drive_id: str
    task: Task
    licence: str


_CODE = "CenterTrack's code is MIT; trained on "
_COCO = _CODE + "COCO (annotations CC BY 4.0)"
_MOT = _CODE + "CrowdHuman and MOT17 (non-commercial)"
_MOT_ONLY = _CODE + "MOT17 (CC BY-NC-SA 3.0)"
_CROWDHUMAN = _CODE + "CrowdHuman (non-commercial)"
_KITTI = _CODE + "nuScenes (CC BY-NC-SA 4.0) and KITTI (CC BY-NC-SA 3.0)"
_KITTI_ONLY = _CODE + "KITTI (CC BY-NC-SA 3.0)"
_NUSCENES = _CODE + "nuScenes (CC BY-NC-SA 4.0)"

ZOO: dict[str, ZooModel] = {
    "coco_tracking": ZooModel("11DEfWa0TKYzNqY3CXR51WVvjMb4oRl08", COCO, _COCO),
    "coco_pose_tracking": ZooModel("1yGFC_Q9wzSHL1d4eZW_44EBB2H42YKYt", COCO, _COCO),
    "crowdhuman": ZooModel("1SD31FLwbXArcX3LXnRCqh6RF-q38nO7f", MOT, _CROWDHUMAN),
    "mot17_fulltrain": ZooModel("1JYqO_IEoHpd7JEzZRXZSVesnEL4e-tnf", MOT, _MOT),
    "mot17_fulltrain_sc": ZooModel("17rtVMuFOnRzXj0_3egrFI5j-wc8XviDZ", MOT, _MOT_ONLY),
    "mot17_half": ZooModel("1rJ0fzRcpRQPjaN17lcqfKgsz-wJRifHh", MOT, _MOT),
    "mot17_half_sc": ZooModel("1o_cCo92WiVg8mgwyESd1Gg1AZYnq1iAJ", MOT, _MOT_ONLY),
    "kitti_fulltrain": ZooModel("13oUEpeZ8bVQ6z7A6SH88de4SwLgh_kMB", KITTI, _KITTI),
    "kitti_half": ZooModel("1AZiFG0p3VxB2pA_5XIkbue4ASfxaA3e1", KITTI, _KITTI),
    "kitti_half_sc": ZooModel("13rmdfi1rX3X7yFOndzyARTYO51uSNW0Z", KITTI_HALF_SC, _KITTI_ONLY),
    "nuScenes_3Ddetection_e140": ZooModel("1o989b1tANh49uHhNbsCCJ5J57FGiaFut", NUSCENES_DETECTION, _NUSCENES),
    "nuScenes_3Dtracking": ZooModel("1gPQFzqneDtT_PjJRRuyskRsNTRHXovw1", NUSCENES, _NUSCENES),
}


def task_of(heads: Mapping[str, int]) -> Task:
    """The task that weights with these heads were most probably trained for; COCO's where nothing tells."""
    if "dep" in heads and heads["hm"] == 10:
        return NUSCENES if "tracking" in heads else NUSCENES_DETECTION
    if heads["hm"] == 3:
        return KITTI
    if heads["hm"] == 1 and "ltrb_amodal" in heads:
        return MOT
    return COCO


def with_zoo_facts(profile: ModelProfile) -> ModelProfile:
    """The profile with what is known of the official model of its name, if there is one, else of its heads' task."""
    model = ZOO.get(profile.name)
    task = model.task if model else task_of(profile.heads)
    profile = replace(
        profile,
        input_height=task.input_height,
        input_width=task.input_width,
        thresholds=task.thresholds,
        trained_focal_length=task.trained_focal_length,
    )
    if model is None:
        return profile
    return replace(profile, licence=model.licence, source="github.com/xingyizhou/CenterTrack, readme/MODEL_ZOO.md")
