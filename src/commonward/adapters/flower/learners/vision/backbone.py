"""EfficientNet-Lite (Tan and Le 2019; Google's "lite" variants of 2020) as a forward pass in PyTorch.

Inverted residual blocks without squeeze-and-excitation, ReLU6 throughout, a stem and head that do not scale, and
TensorFlow's SAME padding, which is not symmetric where a stride divides an even side: the weights were learnt with it.

BatchNorm is frozen for good: its running statistics and its scale and shift from ImageNet are constants of each unit,
not parameters. A round then learns the convolutions alone, no statistic of one patient reaches another's gradient, and
sites that differ in their cameras do not fight over running means.
"""

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH: Final = 1280
"""Features of a picture, whatever the variant."""

STEM: Final = 32
_EPSILON: Final = 1e-3

# repeats, kernel, stride, expansion, channels in, channels out: efficientnet_lite_builder.py of tensorflow/tpu.
_STAGES: Final = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the family.

    Attributes:
        name: as settings say it.
        width, depth: multipliers of channels and repeats, in tenths.
        side: pixels a side of the pictures that its weights were learnt on.
    """

    name: str
    width: int
    depth: int
    side: int

    def channels(self, usual: int) -> int:
        """A multiple of 8, never more than a tenth below the product."""
        wanted = usual * self.width
        rounded = max(8, (wanted + 40) // 80 * 8)
        return rounded + 8 if rounded * 100 < 9 * wanted else rounded

    def repeats(self, usual: int, stage: int) -> int:
        """Rounded up; the first and the last stage stay as they are."""
        return usual if stage in (0, len(_STAGES) - 1) else -(-usual * self.depth // 10)


VARIANTS: Final = (Variant("lite0", 10, 10, 224), Variant("lite1", 10, 11, 240), Variant("lite2", 11, 12, 260))


def variant(name: str) -> Variant:
    """Raises ValueError for a name that is none of VARIANTS."""
    for each in VARIANTS:
        if each.name == name:
            return each
    raise ValueError(f"expected a backbone of {', '.join(each.name for each in VARIANTS)}, got {name!r:.40}")


class Unit(nn.Module):
    """A convolution without bias, its frozen norm, and ReLU6 where asked. The weight is its only parameter."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int = 1, *, groups: int = 1, relu: bool) -> None:
        super().__init__()
        self.kernel, self.stride, self.groups, self.relu = kernel, stride, groups, relu
        self.weight = nn.Parameter(torch.zeros(outer, inner // groups, kernel, kernel))
        self.register_buffer("scale", torch.ones(outer))
        self.register_buffer("shift", torch.zeros(outer))

    def freeze(self, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Take a BatchNorm's constants: scale = gamma / sqrt(variance + 0.001), shift = beta - mean * scale."""
        self.scale.copy_(gamma / torch.sqrt(variance + _EPSILON))
        self.shift.copy_(beta - mean * self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inner, h, w) to (n, outer, ceil(h / stride), ceil(w / stride))."""
        if self.kernel > 1:
            tall, wide = (self._missing(side) for side in x.shape[-2:])
            x = functional.pad(x, (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2))
        folded = self.weight * self.scale[:, None, None, None]
        x = functional.conv2d(x, folded, self.shift, self.stride, groups=self.groups)
        return functional.relu6(x) if self.relu else x

    def _missing(self, side: int) -> int:
        return int(max((-(-side // self.stride) - 1) * self.stride + self.kernel - side, 0))


class Block(nn.Module):
    """Expansion, depthwise convolution, projection; the input is added where the shapes allow."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inner * expansion
        self.expand = Unit(inner, wide, 1, relu=True) if expansion != 1 else None
        self.depthwise = Unit(wide, wide, kernel, stride, groups=wide, relu=True)
        self.project = Unit(wide, outer, 1, relu=False)
        self.residual = stride == 1 and inner == outer

    def forward(self, x: Tensor) -> Tensor:
        """As `Unit`."""
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


class Backbone(nn.Module):
    """Pictures to features: (n, 3, side, side) to (n, 1280). Any side from 32 will do."""

    def __init__(self, which: Variant) -> None:
        super().__init__()
        self.variant = which
        self.stem = Unit(3, STEM, 3, 2, relu=True)
        blocks = []
        inner = STEM
        for stage, (repeats, kernel, stride, expansion, _, channels) in enumerate(_STAGES):
            outer = which.channels(channels)
            for at in range(which.repeats(repeats, stage)):
                blocks.append(Block(inner, outer, kernel, stride if at == 0 else 1, expansion))
                inner = outer
        self.blocks = nn.ModuleList(blocks)
        self.head = Unit(inner, WIDTH, 1, relu=True)

    def last_map(self, x: Tensor) -> Tensor:
        """What the features are the means of: (n, 1280, rows, columns), for heat maps."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Features: means of the last map over the picture."""
        return self.last_map(x).mean(dim=(2, 3))


def parameters(backbone: Any) -> dict[str, Tensor]:
    """The convolutions' weights by name, as a federated model holds them: `stem.weight`, `blocks.0.project.weight`."""
    return dict(backbone.named_parameters())
