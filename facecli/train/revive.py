"""Channels that died in training made to live again.

Without norms a ReLU whose bias has fallen too far never fires, no gradient reaches it any more, and half of a layer can
die that way unnoticed, for the other half learns on. Such a channel can begin anew while the network stays the same:
what listens to it begins with nothing (after Sokar et al. 2023, "The Dormant Neuron Phenomenon in Deep Reinforcement
Learning", section 4).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facecli.model import FaceNetwork
from facecli.train.watch import watch

DORMANT = 0.001
"""A channel that fires in fewer pixels is dead."""

AWAKE = 0.3
"""In how many of the pixels a channel fires when it begins anew."""


@torch.no_grad()
def revive(network: FaceNetwork, image: Tensor, sharp: Tensor, rows: Tensor) -> dict[str, int]:
    """Give the dead channels of hidden layers random kernels, as long as those of the living; says how many of which.

    image: many crops, n 3 256 256 in 0..1; sharp: those `rows` of them that have detail, at 512 px. What fires on none
    of them is dead. The network's outputs stay as they are, but for those few pixels in which the dead did fire.
    """
    names, listeners = {module: name for name, module in network.named_modules()}, dict(network.hidden())
    revived: dict[str, int] = {}

    def look(layer: nn.Conv2d, given: tuple[Tensor, ...], before: Tensor) -> None:
        dead = (before > 0).float().mean((0, 2, 3)) < DORMANT
        if dead.any():
            _begin_anew(layer, listeners[layer], dead, given[0])
            revived[names[layer]] = int(dead.sum())

    hooks = [layer.register_forward_hook(look) for layer in listeners]
    watch(network, image, sharp, rows, hooks)
    return revived


def _begin_anew(layer: nn.Conv2d, listener: nn.Conv2d, dead: Tensor, given: Tensor) -> None:
    kernels = torch.randn_like(layer.weight[dead])
    lengths = layer.weight.flatten(1).norm(dim=1)
    usual = lengths[~dead].median() if (~dead).any() else lengths.median()
    kernels *= usual / kernels.flatten(1).norm(dim=1)[:, None, None, None]
    excited = F.conv2d(given, kernels, stride=layer.stride, padding=layer.padding)
    # Of a sample of the pixels: sorting all of a large layer takes longer than the rest.
    each = excited.transpose(0, 1).flatten(1)[:, :: max(1, excited[:, 0].numel() // 10_000)]
    layer.weight[dead] = kernels
    assert layer.bias is not None
    layer.bias[dead] = -each.quantile(1 - AWAKE, dim=1)
    listener.weight[:, dead] = 0
