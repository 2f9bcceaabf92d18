"""The network: one backbone with a feature pyramid and three subtask heads, end to end.

Implements the approach described in the abstract of Wang, Shen and Yu, "Real-time 3D Face Reconstruction from
Single Image using End-to-End CNN Regression" (ICIP 2021): face region segmentation, coarse-scale
reconstruction and detail recovery, predicting a pixel-based multi-scale representation. Sizes and layers are
ours.

In eight bits (`ModelConfig.eight_bits`) most of it computes with bytes, which is twice to thrice as fast on CPUs of
today; float32 stays where a byte's step would be seen in a surface, in the layers at 128 px that end in region and
coarse maps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facecli.rounding import ByteConv, Steps


@dataclass(frozen=True)
class ModelConfig:
    """Widths of strides 2, 4, 8, 16, 32; residual blocks at each stride from 4 on; pyramid and head; whether most of it
    computes in bytes."""

    widths: tuple[int, ...] = (32, 48, 96, 160, 192)
    depths: tuple[int, ...] = (1, 2, 3, 3)
    pyramid: int = 64
    head: int = 32
    eight_bits: bool = False

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "ModelConfig":
        """From what JSON tells, which knows no tuples. Raises TypeError for other fields."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in told.items()
        }
        return cls(**fields)

    def wider(self, factor: float) -> "ModelConfig":
        """The same with layers that many times as wide, in multiples of eight."""

        def scaled(width: int) -> int:
            return max(8, round(width * factor / 8) * 8)

        widths = tuple(scaled(width) for width in self.widths)
        return replace(self, widths=widths, pyramid=scaled(self.pyramid), head=scaled(self.head))


class Prediction(NamedTuple):
    """Raw outputs for a 512 px crop; unlike `runtime.Maps`, logits and network units."""

    region: Tensor  # (n, 1, 256, 256) logit of "this pixel shows the face"
    coordinate: Tensor  # (n, 3, 128, 128) where on the template, unit 100 mm
    depth: Tensor  # (n, 1, 128, 128) towards the camera from the head centre, unit 100 mm
    log_variance: Tensor  # (n, 1, 128, 128) of depth, in its unit
    opening: Tensor  # (n, 1, 128, 128) logit of "lids or lips have parted here"
    detail: Tensor  # (n, 1, 512, 512) displacement along the coarse normal, mm


LEAK = 0.02
"""How much of a gradient passes a ReLU that does not fire."""


class _LeakyBackwards(torch.autograd.Function):
    """ReLU in place whose gradient is that of a leaky one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.relu_()
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (fired,) = ctx.saved_tensors
        passed: Tensor = torch.ops.aten.leaky_relu_backward(gradient, fired, LEAK, True)
        return passed


class Rectifier(nn.Module):
    """ReLU, in place. In training its gradient leaks to channels that do not fire.

    Without norms a channel whose bias has fallen too far would never fire, and so never learn, again: half of a head's
    layer died that way. What is computed is a plain ReLU's (after Horuz et al. 2025, "The Resurrection of the ReLU").
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled():
            return cast(Tensor, _LeakyBackwards.apply(x))  # type: ignore[no-untyped-call]
        return F.relu(x, inplace=True)


def steps(wanted: bool) -> nn.Module:
    """`Steps` if wanted."""
    return Steps() if wanted else nn.Identity()


def convolution(inputs: int, outputs: int, kernel: int, stride: int, eight_bits: bool) -> nn.Conv2d:
    """That keeps the size, but for the stride; of bytes if wanted."""
    return (ByteConv if eight_bits else nn.Conv2d)(inputs, outputs, kernel, stride, kernel // 2)


def conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, eight_bits: bool = False
) -> nn.Sequential:
    """Convolution and ReLU. Nowhere a norm: at these resolutions it would cost more than the convolution."""
    layer = convolution(inputs, outputs, kernel, stride, eight_bits)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential(layer, Rectifier(), steps(eight_bits))


class Block(nn.Module):
    """Two 3 x 3 convolutions, residual; starts as the identity: so the net trains without norms."""

    def __init__(self, width: int, eight_bits: bool = False, last: bool = False) -> None:
        super().__init__()
        self.first = conv(width, width, eight_bits=eight_bits)
        self.second = convolution(width, width, 3, 1, eight_bits)
        self.change, self.sum = steps(eight_bits), steps(eight_bits and not last)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.sum(x + self.change(self.second(self.first(x))))
        return total


def stage(before: int, width: int, depth: int, eight_bits: bool) -> nn.Sequential:
    """Half the resolution, then residual blocks and a ReLU."""
    blocks = [Block(width, eight_bits, last=k == depth - 1) for k in range(depth)]
    return nn.Sequential(conv(before, width, 3, 2, eight_bits), *blocks, Rectifier(), steps(eight_bits))


class FaceNetwork(nn.Module):
    """512 px RGB crop, 0..1 less a half, -> `Prediction`. The backbone reads it at 256 px, the detail head at 512 px.

    `forward` computes what `surface` and `recover` do, which are trained, in an order that costs less.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths, pyramid, head, eight_bits = config.widths, config.pyramid, config.head, config.eight_bits
        self.stem = conv(3, widths[0], 3, 2)
        self.enter = steps(eight_bits)
        self.stages = nn.ModuleList(
            stage(before, width, depth, eight_bits)
            for before, width, depth in zip(widths, widths[1:], config.depths, strict=False)
        )
        self.context = nn.Linear(widths[-1], pyramid)
        self.lateral = nn.ModuleList(nn.Conv2d(width, pyramid, 1) for width in widths[1:])
        self.joined = nn.ModuleList(steps(eight_bits) for _ in widths[1:])
        self.smooth = nn.ModuleList(conv(pyramid, pyramid, eight_bits=eight_bits) for _ in widths[1:])
        self.narrow = nn.Conv2d(pyramid, head, 1)
        self.fuse = conv(head, head)
        self.sharpen = nn.Sequential(conv(head, head // 2), nn.Conv2d(head // 2, head, 1))
        nn.init.zeros_(cast(Tensor, self.sharpen[1].weight))
        nn.init.zeros_(_bias(cast(nn.Conv2d, self.sharpen[1])))
        self.region = nn.Sequential(conv(head, head // 2), nn.Conv2d(head // 2, 4, 1), nn.PixelShuffle(2))
        self.coarse = nn.Sequential(conv(head, head), nn.Conv2d(head, 6, 1))
        self.texture = nn.Conv2d(3, head, 4, 4)
        self.relief = nn.Conv2d(6, head, 1)
        self.detail = nn.Sequential(
            nn.Sequential(Rectifier(), steps(eight_bits)),
            conv(head, head, eight_bits=eight_bits),
            conv(head, head, eight_bits=eight_bits),
            nn.Conv2d(head, 16, 1),
            nn.PixelShuffle(4),
        )

    def forward(self, image: Tensor) -> Prediction:
        shared = self.share(self.halving_stem(image))
        region, coarse, seen = self.joined_heads(shared)
        maps = coarse[:, :3], coarse[:, 3:4], coarse[:, 4:5], coarse[:, 5:6]
        weight = self.texture.weight
        texture = F.conv2d(image, weight, _bias(self.texture) + 0.5 * weight.sum((1, 2, 3)), 4)
        return Prediction(region, *maps, self.detail(seen + texture))

    def surface(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shared features, region and coarse maps of a 256 px crop, 0..1.

        The coarse maps' last layer is float32 even under autocast: a step of bfloat16 is 0.2 to 0.4 mm of depth, and
        rounding to it turns normals by 3.5 degrees in the mean, a third of the error that the losses are to see. What
        is left of that, 1.3 degrees, would cost a quarter of the speed.
        """
        shared = self.share(self.stem(spread(image)))
        hidden = self.coarse[0](shared)
        with torch.autocast(image.device.type, enabled=False):
            coarse = self.coarse[1](hidden.float())
        return shared, self.region(shared), coarse

    def halving_stem(self, image: Tensor) -> Tensor:
        """The stem on the 2 x 2 means of a 512 px crop, as one convolution: the mean alone costs thrice as much.

        The mean's quarter and `spread`'s factor of four cancel.
        """
        first = cast(nn.Conv2d, self.stem[0])
        weight = F.interpolate(first.weight, scale_factor=2.0, mode="nearest")
        return F.conv2d(image, weight, first.bias, 4, 2).relu()

    def joined_heads(self, shared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Region, coarse maps, and what the detail head hears of them and of the shared features.

        Side by side the two heads' first convolutions are faster than one after the other. What relief makes of the
        coarse maps it makes of their hidden layer, so that no layer of six channels is between them.
        """
        (first, last), (coarse_first, coarse_last) = _layers(self.region), _layers(self.coarse)
        weight = torch.cat([first.weight, coarse_first.weight])
        hidden = F.conv2d(shared, weight, torch.cat([_bias(first), _bias(coarse_first)]), padding=1).relu()
        before, behind = [0, 0, 0, 0, first.out_channels, 0], [0, 0, 0, 0, 0, coarse_first.out_channels]
        weight = torch.cat([F.pad(last.weight, behind), F.pad(coarse_last.weight, before)])
        maps = F.conv2d(hidden, weight, torch.cat([_bias(last), _bias(coarse_last)]))
        region, coarse = F.pixel_shuffle(maps[:, : last.out_channels], 2), maps[:, last.out_channels :]
        relief = self.relief.weight[:, :, 0, 0]
        weight = F.pad((relief @ coarse_last.weight[:, :, 0, 0])[:, :, None, None], before)
        seen = F.conv2d(hidden, weight, _bias(self.relief) + relief @ _bias(coarse_last)) + shared
        return region, coarse, seen

    def share(self, stem: Tensor) -> Tensor:
        """The pyramid's features, (n, 32, 128, 128), from the stem's."""
        features, x = [], self.enter(stem)
        for part in self.stages:
            x = part(x)  # strides 4, 8, 16, 32 of the 256 px crop
            features.append(x)
        everywhere = self.context(x.mean((2, 3)))[:, :, None, None]  # pose and scale, seen by every pixel
        top = self.smooth[-1](self.joined[-1](self.lateral[-1](x) + everywhere))
        for level in range(len(features) - 2, -1, -1):
            up = F.interpolate(top, scale_factor=2.0, mode="bilinear", align_corners=False)
            both = self.joined[level](up + self.lateral[level](features[level]))
            top = self.smooth[level](both)  # ends at (n, 64, 64, 64)
        up = F.interpolate(self.narrow(top), scale_factor=2.0, mode="bilinear", align_corners=False)
        shared: Tensor = self.fuse(up + stem)
        return shared + cast(Tensor, self.sharpen(shared))

    def hidden(self) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
        """The convolutions, each before a ReLU, to which one other alone listens, and that one; in the order of use."""
        blocks = [module for module in self.modules() if isinstance(module, Block)]
        pairs = [(_first(block.first), block.second) for block in blocks]
        pairs += [_layers(head) for head in (self.sharpen, self.region, self.coarse)]
        one, other, last = self.detail[1], self.detail[2], self.detail[3]
        return [*pairs, (_first(one), _first(other)), (_first(other), cast(nn.Conv2d, last))]

    def recover(self, image: Tensor, shared: Tensor, coarse: Tensor) -> Tensor:
        """Detail from the 512 px crop, 0..1, the shared features and the coarse result."""
        detail: Tensor = self.detail(shared + self.texture(image) + self.relief(coarse))
        return detail


def _layers(head: nn.Sequential) -> tuple[nn.Conv2d, nn.Conv2d]:
    """The two convolutions of a head."""
    return _first(head[0]), cast(nn.Conv2d, head[1])


def _first(layer: nn.Module) -> nn.Conv2d:
    """The convolution of a `conv`."""
    return cast(nn.Conv2d, cast(nn.Sequential, layer)[0])


def _bias(layer: nn.Conv2d) -> Tensor:
    return cast(Tensor, layer.bias)


def spread(image: Tensor) -> Tensor:
    """0..1 to about zero mean and unit variance."""
    return (image - 0.5) * 4
