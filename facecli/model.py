"""The network: one backbone with a feature pyramid and three subtask heads, end to end.

Implements the approach described in the abstract of Wang, Shen and Yu, "Real-time 3D Face Reconstruction from
Single Image using End-to-End CNN Regression" (ICIP 2021): face region segmentation, coarse-scale
reconstruction and detail recovery, predicting a pixel-based multi-scale representation. Sizes and layers are
ours.
"""

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ModelConfig:
    """Widths of strides 2, 4, 8, 16, 32; residual blocks at each stride from 4 on; pyramid and head."""

    widths: tuple[int, ...] = (32, 48, 96, 160, 192)
    depths: tuple[int, ...] = (1, 2, 2, 1)
    pyramid: int = 64
    head: int = 32

    def wider(self, factor: float) -> "ModelConfig":
        """The same with layers that many times as wide, in multiples of eight."""

        def scaled(width: int) -> int:
            return max(8, round(width * factor / 8) * 8)

        return ModelConfig(
            tuple(scaled(w) for w in self.widths), self.depths, scaled(self.pyramid), scaled(self.head)
        )


class Prediction(NamedTuple):
    """Raw outputs for a 512 px crop; unlike `runtime.Maps`, logits and network units."""

    region: Tensor  # (n, 1, 256, 256) logit of "this pixel shows the face"
    coordinate: Tensor  # (n, 3, 128, 128) where on the template, unit 100 mm
    depth: Tensor  # (n, 1, 128, 128) towards the camera from the head centre, unit 100 mm
    log_variance: Tensor  # (n, 1, 128, 128) of depth, in its unit
    opening: Tensor  # (n, 1, 128, 128) logit of "lids or lips have parted here"
    detail: Tensor  # (n, 1, 512, 512) displacement along the coarse normal, mm


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution and ReLU. Nowhere a norm: at these resolutions it would cost more than the convolution."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential(layer, nn.ReLU(inplace=True))


class Block(nn.Module):
    """Two 3 x 3 convolutions, residual; starts as the identity: so the net trains without norms."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv(width, width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class FaceNetwork(nn.Module):
    """512 px RGB crop in 0..1 -> `Prediction`. The backbone reads it at 256 px, the detail head at 512 px."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths, pyramid, head = config.widths, config.pyramid, config.head
        self.stem = conv(3, widths[0], 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(
                conv(before, width, 3, 2), *(Block(width) for _ in range(depth)), nn.ReLU(inplace=True)
            )
            for before, width, depth in zip(widths, widths[1:], config.depths, strict=False)
        )
        self.context = nn.Linear(widths[-1], pyramid)
        self.lateral = nn.ModuleList(nn.Conv2d(width, pyramid, 1) for width in widths[1:])
        self.smooth = nn.ModuleList(conv(pyramid, pyramid) for _ in widths[1:])
        self.narrow = nn.Conv2d(pyramid, head, 1)
        self.fuse = conv(head, head)
        self.region = nn.Sequential(conv(head, head // 2), nn.Conv2d(head // 2, 4, 1), nn.PixelShuffle(2))
        self.coarse = nn.Sequential(conv(head, head), nn.Conv2d(head, 6, 1))
        self.texture = nn.Conv2d(3, head, 4, 4)
        self.relief = nn.Conv2d(6, head, 1)
        self.detail = nn.Sequential(
            nn.ReLU(inplace=True),
            conv(head, head),
            conv(head, head),
            nn.Conv2d(head, 16, 1),
            nn.PixelShuffle(4),
        )

    def forward(self, image: Tensor) -> Prediction:
        shared, region, coarse = self.subtasks(self.halving_stem(image))
        maps = coarse[:, :3], coarse[:, 3:4], coarse[:, 4:5], coarse[:, 5:6]
        return Prediction(region, *maps, self.recover(image, shared, coarse))

    def surface(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shared features, region and coarse maps of a 256 px crop."""
        return self.subtasks(self.stem(spread(image)))

    def halving_stem(self, image: Tensor) -> Tensor:
        """The stem on the 2 x 2 means of a 512 px crop, as one convolution: the mean alone costs thrice as much.

        The mean's quarter and `spread`'s factor of four cancel.
        """
        first = cast(nn.Conv2d, self.stem[0])
        weight = F.interpolate(first.weight, scale_factor=2.0, mode="nearest")
        return F.conv2d(image - 0.5, weight, first.bias, 4, 2).relu()

    def subtasks(self, stem: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `surface` says, from the stem's (n, 32, 128, 128)."""
        features, x = [], stem
        for stage in self.stages:
            x = stage(x)  # strides 4, 8, 16, 32 of the 256 px crop
            features.append(x)
        top = (
            self.lateral[-1](x) + self.context(x.mean((2, 3)))[:, :, None, None]
        )  # pose and scale, seen by every pixel
        top = self.smooth[-1](top)
        for level in range(len(features) - 2, -1, -1):
            up = F.interpolate(top, scale_factor=2.0, mode="bilinear", align_corners=False)
            top = self.smooth[level](up + self.lateral[level](features[level]))  # ends at (n, 64, 64, 64)
        up = F.interpolate(self.narrow(top), scale_factor=2.0, mode="bilinear", align_corners=False)
        shared = self.fuse(up + stem)  # (n, 32, 128, 128)
        return shared, self.region(shared), self.coarse(shared)

    def recover(self, image: Tensor, shared: Tensor, coarse: Tensor) -> Tensor:
        """Detail from the 512 px crop, the shared features and the coarse result."""
        detail: Tensor = self.detail(shared + self.texture(image) + self.relief(coarse))
        return detail


def spread(image: Tensor) -> Tensor:
    """0..1 to about zero mean and unit variance."""
    return (image - 0.5) * 4
