"""From a model profile to the network that it describes."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from centertrack_ros.network.profile import ModelProfile


def _dla_34(profile: ModelProfile) -> nn.Module:
    from centertrack_ros.network.dla import DLA34

    return DLA34(
        profile.heads,
        previous_image=profile.previous_image,
        prior_heatmap=profile.prior_heatmap,
        deformable=profile.architecture == "dla_34",
        **profile.head_options,
    )


def _mobilenetv3_centernet(profile: ModelProfile) -> nn.Module:
    from centertrack_ros.network.mobilenetv3 import MobileNetV3CenterNet

    return MobileNetV3CenterNet(
        profile.heads,
        previous_image=profile.previous_image,
        prior_heatmap=profile.prior_heatmap,
        **profile.head_options,
    )


ARCHITECTURES: dict[str, Callable[[ModelProfile], nn.Module]] = {
    "dla_34": _dla_34,
    "dla_34_conv": _dla_34,
    "mobilenetv3_centernet": _mobilenetv3_centernet,
}


def build(profile: ModelProfile) -> nn.Module:
    """A freshly initialised network in evaluation mode; its interface is that of `network.base.TrackingNetwork`.

    Raises ValueError for an architecture that does not exist here, or head options that it does not have.
    """
    if profile.architecture not in ARCHITECTURES:
        raise ValueError(
            f"model '{profile.name}': unknown architecture '{profile.architecture}', "
            f"expected one of {', '.join(ARCHITECTURES)}"
        )
    try:
        return ARCHITECTURES[profile.architecture](profile).eval()
    except TypeError as error:
        raise ValueError(f"model '{profile.name}': head options do not fit {profile.architecture}: {error}") from None
