# SPDX-License-Identifier: Apache-2.0
"""Pictures of meshes by Panda3D's software rasteriser: no screen, no GPU, the same bytes on every run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.synthetic.depth import draw_depths
from centertrack_ros.synthetic.meshes import Mesh

COLOR_MASK, ID_MASK = 1, 2

_SETTINGS = """
load-display p3tinydisplay
window-type offscreen
audio-library-name null
textures-power-2 down
notify-level-display fatal
notify-level-tinydisplay fatal
sync-video false
"""


@lru_cache(maxsize=1)
def _panda() -> Any:
    """The panda3d.core module, set up once. Raises ModuleNotFoundError with what to install."""
    try:
        from panda3d import core
    except ModuleNotFoundError:
        raise ModuleNotFoundError("the synthetic street needs Panda3D: pip install panda3d") from None
    core.loadPrcFileData("centertrack street", _SETTINGS)
    return core


@lru_cache(maxsize=1)
def _pipe() -> Any:
    pipe = _panda().GraphicsPipeSelection.getGlobalPtr().makeModulePipe("p3tinydisplay")
    if pipe is None:
        raise RuntimeError("Panda3D is installed without its software renderer (p3tinydisplay)")
    return pipe


@dataclass(frozen=True)
class Light:
    """A sun and the sky's light.

    Attributes:
        direction: (3,) points from the sun into the scene.
        sun: (3,) its colour, RGB, 0..1 and above.
        ambient: (3,) the sky's colour, RGB, 0..1 and above.
    """

    direction: NDArray[np.float64]
    sun: NDArray[np.float64]
    ambient: NDArray[np.float64]


class Renderer:
    """Two off-screen views of one scene: colours (`supersampling` times the image size) and object numbers.

    Nodes are opaque handles; transforms are in the world frame, m (REP 103).
    `Renderer.acquire` lends one for a `with` statement.
    """

    # By size, empty. Panda3D never frees the pixels of a software buffer, 3 MB at 512x288: a buffer is used again.
    _idle: ClassVar[dict[tuple[int, int, float], list[Renderer]]] = {}

    @classmethod
    @contextmanager
    def acquire(cls, width: int, height: int, supersampling: float = 1.25) -> Iterator[Renderer]:
        """An empty renderer of this size, until the `with` ends."""
        idle = cls._idle.setdefault((width, height, supersampling), [])
        renderer = idle.pop() if idle else cls(width, height, supersampling)
        try:
            yield renderer
        finally:
            renderer.clear()
            idle.append(renderer)

    def __init__(self, width: int, height: int, supersampling: float) -> None:
        core = _panda()
        self.size = (width, height)
        # Held here: when Python ends, Panda3D's module is emptied before a street that was not drawn to its end.
        self._cached_kinds = core.RenderState, core.TransformState
        self._fine = (round(width * supersampling), round(height * supersampling))
        self._engine = core.GraphicsEngine(_pipe())
        self._root = core.NodePath("street")
        self._lens = core.PerspectiveLens()
        self._views = [self._view("color", self._fine, COLOR_MASK), self._view("ids", self.size, ID_MASK)]
        id_camera = self._views[1][2].node()
        plain = core.NodePath("plain")
        plain.setTextureOff(100)
        plain.setLightOff(100)
        plain.setColor(0, 0, 0, 1, 100)
        plain.setTransparency(core.TransparencyAttrib.MNone, 100)
        id_camera.setInitialState(plain.getState())
        id_camera.setTagStateKey("id")
        self._id_states: set[int] = set()
        self._stashed: set[int] = set()
        self._ranged: list[tuple[Any, NDArray[np.float64], float, float]] = []
        self._textures: dict[int, Any] = {}
        self._solids: list[tuple[Any, Mesh]] = []

    def _view(self, name: str, size: tuple[int, int], mask: int) -> tuple[Any, Any, Any]:
        core = _panda()
        buffer_properties = core.FrameBufferProperties()
        buffer_properties.setRgbaBits(8, 8, 8, 8)
        buffer_properties.setDepthBits(24)
        output = self._engine.makeOutput(
            _pipe(), name, 0, buffer_properties, core.WindowProperties.size(*size), core.GraphicsPipe.BFRefuseWindow
        )
        if output is None:
            raise RuntimeError(f"Panda3D gave no off-screen buffer of {size[0]}x{size[1]} px")
        texture = core.Texture()
        output.addRenderTexture(texture, core.GraphicsOutput.RTMCopyRam)
        camera = self._root.attachNewNode(core.Camera(name, self._lens))
        camera.node().setCameraMask(core.BitMask32(mask))
        region = output.makeDisplayRegion()
        region.setCamera(camera)
        region.setClearColor((0, 0, 0, 1))
        region.setClearColorActive(True)
        region.setClearDepthActive(True)
        return output, texture, camera

    def add(
        self,
        mesh: Mesh,
        texture: NDArray[np.uint8] | None = None,
        *,
        label: int = 0,
        layer: int | None = None,
        lit: bool = True,
        occludes: bool = True,
        parent: Any = None,
        opacity: float = 1.0,
        reach: float | None = None,
        beyond: float = 0.0,
    ) -> Any:
        """Put a mesh into the scene and give its handle.

        texture  BGR uint8, sides powers of two
        label    number in the object image; 0 for scenery
        occludes whether it hides things in the object image
        opacity  below 1 what lies behind shines through
        parent   another handle
        reach    m from the camera to the mesh's middle up to which it is drawn, and `beyond` from which on; None:
            always
        layer    painter's order of things flat on the ground (and the sky), which neither test nor write depth; None:
            solid
        """
        core = _panda()
        node = (self._root if parent is None else parent).attachNewNode(_geometry(mesh))
        if texture is not None:
            node.setTexture(self._texture(texture))
        if not lit:
            node.setLightOff(1)
        if opacity < 1:
            node.setTransparency(core.TransparencyAttrib.MAlpha)
            node.setAlphaScale(opacity)
        if layer is not None:
            node.setBin("background", layer)
            node.setDepthTest(False)
            node.setDepthWrite(False)
        else:
            node.setBin(
                "unsorted", 0
            )  # the usual order is by memory address: where depths are equal, any run could differ
        if not occludes:
            node.hide(core.BitMask32(ID_MASK))
        if layer is None and occludes and opacity == 1:
            self._solids.append((node, mesh))
        if reach is not None:
            self._ranged.append((node, mesh.positions.mean(axis=0), beyond, reach))
        if label:
            self._declare(label)
            node.setTag("id", str(label))
        return node

    def group(self, parent: Any = None) -> Any:
        """An empty handle that others can hang from."""
        return (self._root if parent is None else parent).attachNewNode("group")

    def shadows(self, sun: NDArray[np.float64]) -> Any:
        """A handle under which closed convex meshes fall flat onto the ground along `sun` (3,)."""
        core = _panda()
        node = self._root.attachNewNode("shadows")
        node.setMat(core.LMatrix4(1, 0, 0, 0, 0, 1, 0, 0, -sun[0] / sun[2], -sun[1] / sun[2], 1e-4, 0, 0, 0, 0.01, 1))
        return node

    def show(self, node: Any, visible: bool) -> None:
        """Draw a handle's meshes or leave them out."""
        key = node.getKey()
        if (key in self._stashed) == visible:
            if visible:
                self._stashed.discard(key)
                node.unstash()
            else:
                self._stashed.add(key)
                node.stash()

    def _declare(self, label: int) -> None:
        """A label is drawn as the colour whose bytes spell the number."""
        if label in self._id_states:
            return
        core = _panda()
        state = core.NodePath("state")
        # A quarter of a level more, because the rasteriser rounds down; small numbers keep its rounding harmless.
        state.setColor(((label % 150) + 0.25) / 255, ((label // 150) + 0.25) / 255, 0, 1, 200)
        self._views[1][2].node().setTagState(str(label), state.getState())
        self._id_states.add(label)

    def _texture(self, image: NDArray[np.uint8]) -> Any:
        key = id(image)
        if key not in self._textures:
            core = _panda()
            texture = core.Texture()
            texture.setup2dTexture(image.shape[1], image.shape[0], core.Texture.TUnsignedByte, core.Texture.FRgb)
            texture.setRamImage(np.ascontiguousarray(image[::-1]).tobytes())
            texture.setMinfilter(core.SamplerState.FTLinearMipmapNearest)
            texture.setMagfilter(core.SamplerState.FTLinear)
            self._textures[key] = (texture, image)  # holds the image, so that its id stays its own
        return self._textures[key][0]

    def light(self, light: Light) -> None:
        """Set the scene's light."""
        core = _panda()
        self._root.setLightOff()
        ambient = core.AmbientLight("sky")
        ambient.setColor((*light.ambient, 1))
        sun = core.DirectionalLight("sun")
        sun.setColor((*light.sun, 1))
        sun.setDirection(core.LVector3(*light.direction))
        for node in (ambient, sun):
            self._root.setLight(self._root.attachNewNode(node))

    def place(self, node: Any, position: Sequence[float], yaw: float = 0.0) -> None:
        """Move a handle to `position` (3,) m, heading `yaw` rad."""
        node.setPosHpr(*position, float(np.degrees(yaw)), 0, 0)

    def swing(self, node: Any, pivot: Sequence[float], angle: float) -> None:
        """Turn a limb by `angle` rad about the y axis through `pivot`."""
        # Panda calls the rotation about y 'roll'; its mesh hangs from the pivot.
        node.setPosHpr(*pivot, 0, 0, float(np.degrees(angle)))

    def render(
        self,
        rotation: NDArray[np.float64],
        position: NDArray[np.float64],
        focal: float,
        sky: Any = None,
        ids: bool = True,
    ) -> tuple[NDArray[np.uint8], NDArray[np.int32] | None]:
        """Renders what a camera sees.

        Args:
            rotation: (3, 3) optical to world.
            position: (3,) m, in the world.
            focal: Focal length, px of the image.
            sky: A handle that follows the camera.
            ids: Whether to render the object image as well.

        Returns:
            Image (H, W, 3) BGR uint8, and object image (H, W) int32 or None.
        """
        core = _panda()
        width, height = self.size
        self._lens.setFilmSize(width, height)
        self._lens.setFocalLength(focal)
        self._lens.setNearFar(0.3, 600.0)
        right, down, forward = rotation.T
        matrix = core.LMatrix4(*right, 0, *forward, 0, *(-down), 0, *position, 1)
        for output, _, camera in self._views:
            camera.setMat(matrix)
            output.setActive(ids or output is self._views[0][0])
        if sky is not None:
            sky.setPos(*position)
        for node, middle, beyond, reach in self._ranged:
            self.show(node, beyond <= math.hypot(middle[0] - position[0], middle[1] - position[1]) < reach)
        self._engine.renderFrame()
        fine = self._pixels(self._views[0][1])
        if self._fine != self.size:
            shrink = cv2.INTER_AREA if self._fine[0] >= 2 * width else cv2.INTER_LINEAR
            fine = np.asarray(cv2.resize(fine, self.size, interpolation=shrink), np.uint8)
        image = np.asarray(cv2.cvtColor(cv2.flip(fine, 0), cv2.COLOR_BGRA2BGR), np.uint8)
        if not ids:
            return image, None
        raw = self._pixels(self._views[1][1])[::-1]
        return image, raw[..., 2].astype(np.int32) + 150 * raw[..., 1].astype(np.int32)

    def depths(
        self, rotation: NDArray[np.float64], position: NDArray[np.float64], focal: float, ground: bool = True
    ) -> NDArray[np.float32]:
        """Measures what a perfect depth sensor sees of the scene as it was last rendered.

        Args:
            rotation: (3, 3) optical to world.
            position: (3,) m, in the world.
            focal: Focal length, px of the image.
            ground: The world's plane z = 0 is seen, too.

        Returns:
            (H, W) m along the optical axis; inf where nothing is.
        """
        width, height = self.size
        inverse = np.zeros((height, width), np.float32)
        if ground:
            across, down = (np.arange(width) + 0.5 - width / 2) / focal, (np.arange(height) + 0.5 - height / 2) / focal
            falling = rotation[2, 0] * across[None, :] + rotation[2, 1] * down[:, None] + rotation[2, 2]
            inverse[:] = np.maximum(-falling / position[2], 0)
        parts = []
        for node, mesh in self._solids:
            if self._is_shown(node):
                matrix = np.array([list(row) for row in node.getMat(self._root).getRows()])
                corners = mesh.positions @ matrix[:3, :3] + matrix[3, :3]
                parts.append(((corners - position) @ rotation)[mesh.triangles])
        if parts:
            draw_depths(inverse, np.concatenate(parts), focal)
        with np.errstate(divide="ignore"):
            return np.asarray(1 / inverse, np.float32)

    def _is_shown(self, node: Any) -> bool:
        while not node.isEmpty() and node != self._root:
            if node.getKey() in self._stashed:
                return False
            node = node.getParent()
        return True

    @staticmethod
    def _pixels(texture: Any) -> NDArray[np.uint8]:
        """(H, W, 4) BGRA, the lowest row first."""
        pixels = np.frombuffer(texture.getRamImage(), np.uint8)
        return pixels.reshape(texture.getYSize(), texture.getXSize(), texture.getNumComponents())

    def clear(self) -> None:
        """Empty the scene and free what its textures took; buffers stay."""
        for child in [*self._root.getChildren(), *self._root.getStashedChildren()]:
            if not any(child == camera for _, _, camera in self._views):
                child.removeNode()
        self._root.clearLight()
        self._textures.clear()
        self._ranged.clear()
        self._solids.clear()
        self._stashed.clear()
        if gsg := self._views[0][0].getGsg():  # there is none before the first image
            gsg.getPreparedObjects().releaseAll()
        for kind in self._cached_kinds:
            kind.garbageCollect()


def _geometry(mesh: Mesh) -> Any:
    core = _panda()
    count = len(mesh.positions)
    rows = np.zeros(count, dtype=[("xyz", "f4", 3), ("normal", "f4", 3), ("color", "u1", 4), ("uv", "f4", 2)])
    rows["xyz"], rows["normal"], rows["uv"] = mesh.positions, mesh.normals, mesh.texcoords
    rows["color"] = np.clip(mesh.colors * 255, 0, 255)
    data = core.GeomVertexData("mesh", core.GeomVertexFormat.getV3n3c4t2(), core.Geom.UHStatic)
    data.uncleanSetNumRows(count)
    data.modifyArrayHandle(0).copyDataFrom(rows.tobytes())
    triangles = core.GeomTriangles(core.Geom.UHStatic)
    triangles.setIndexType(core.Geom.NTUint16 if count < 65536 else core.Geom.NTUint32)
    index = np.ascontiguousarray(mesh.triangles, np.uint16 if count < 65536 else np.uint32)
    vertices = triangles.modifyVertices()
    vertices.uncleanSetNumRows(index.size)
    vertices.modifyHandle().copyDataFrom(index.tobytes())
    geometry = core.Geom(data)
    geometry.addPrimitive(triangles)
    node = core.GeomNode("mesh")
    node.addGeom(geometry)
    return node
