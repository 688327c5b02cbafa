# SPDX-License-Identifier: Apache-2.0
"""As much of TensorRT's Python interface as the package uses, by ONNX Runtime on the CPU; it keeps TensorRT's rules.

TensorRT's libraries need a GPU even to build. The names are those of the bindings of TensorRT 11.4. It holds that a
parsed network is built for the shapes of its profile only, and that an execution context runs what its addresses are.
"""

from __future__ import annotations

import ctypes
import enum
import json
from typing import Any

import numpy as np

__version__ = "10.3.0"
BUILT: list[dict[str, Any]] = []  # the profile of each network that was built


class BuilderFlag(enum.Enum):
    TF32 = 0


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    FLOAT = np.float32
    INT64 = np.int64
    INT32 = np.int32


class Logger:
    ERROR = 1

    def __init__(self, level: int) -> None:
        self.level = level


def init_libnvinfer_plugins(logger: Logger, namespace: str) -> bool:
    return True


def _session(content: bytes) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


class Network:
    def __init__(self) -> None:
        self.content, self.inputs = b"", []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, index: int) -> Any:
        return self.inputs[index]


class Input:
    def __init__(self, node: Any) -> None:
        self.name = node.name
        self.shape = tuple(length if isinstance(length, int) else -1 for length in node.shape)


class OnnxParser:
    num_errors = 1

    def __init__(self, network: Network, logger: Logger) -> None:
        self.network = network

    def parse(self, content: bytes) -> bool:
        try:
            self.network.inputs = [Input(node) for node in _session(content).get_inputs()]
        except Exception as error:
            self.problem = str(error)
            return False
        self.network.content = content
        return True

    def get_error(self, index: int) -> str:
        return self.problem


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, few: Any, usual: Any, many: Any) -> None:
        assert all(a <= b <= c for a, b, c in zip(few, usual, many, strict=True))
        self.shapes[name] = [list(few), list(many)]


class Config:
    def __init__(self) -> None:
        self.profiles: list[Profile] = []
        self.flags = {BuilderFlag.TF32}

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1


class Builder:
    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    def create_network(self, flags: int) -> Network:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return Network()

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        assert not config.flags  # float32 proper
        dynamic = [one.name for one in network.inputs if -1 in one.shape]
        if dynamic and (not config.profiles or set(config.profiles[0].shapes) != set(dynamic)):
            return None
        shapes = config.profiles[0].shapes if dynamic else {one.name: [one.shape] * 2 for one in network.inputs}
        BUILT.append(shapes)
        return json.dumps(shapes).encode() + b"\n" + network.content


class Runtime:
    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
        line, newline, rest = content.partition(b"\n")
        return Engine(json.loads(line), rest) if newline else None


class Engine:
    def __init__(self, shapes: dict[str, Any], content: bytes) -> None:
        self.shapes, self.session = shapes, _session(content)
        self.outputs = {node.name: node for node in self.session.get_outputs()}
        self.names = [node.name for node in self.session.get_inputs()] + list(self.outputs)
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.OUTPUT if name in self.outputs else TensorIOMode.INPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.INT64 if self.outputs[name].type == "tensor(int64)" else DataType.FLOAT

    def create_execution_context(self) -> Context:
        return Context(self)


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.given: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name not in self.engine.outputs:
            return self.given.get(name, (-1, *self.engine.shapes[name][1][1:]))
        return (next(iter(self.given.values()))[0], *self.engine.outputs[name].shape[1:])

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        few, many = self.engine.shapes[name]
        fits = all(a <= length <= b for a, length, b in zip(few, shape, many, strict=True))
        if fits:
            self.given[name] = shape
        return fits

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        feeds = {name: self._at(name, np.float32).copy() for name in self.engine.shapes}
        names = list(self.engine.outputs)
        for name, value in zip(names, self.engine.session.run(names, feeds), strict=True):
            self._at(name, value.dtype)[...] = value
        return True

    def _at(self, name: str, kind: Any) -> np.ndarray:
        shape = self.get_tensor_shape(name)
        count = int(np.prod(shape)) * np.dtype(kind).itemsize
        memory = (ctypes.c_uint8 * count).from_address(self.addresses[name])
        return np.frombuffer(memory, kind).reshape(shape)
