"""A network watched at its work on a batch, layer by layer."""

from collections.abc import Sequence

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from facecli.model import FaceNetwork


def watch(
    network: FaceNetwork, image: Tensor, sharp: Tensor, rows: Tensor, hooks: Sequence[RemovableHandle]
) -> None:
    """Send a batch through all of the network, as training does, and take the hooks off that were to see it.

    image: n 3 256 256 in 0..1; sharp: those `rows` of them that have detail, at 512 px.
    """
    shared, _, coarse = network.surface(image)
    network.recover(sharp, shared[rows], coarse[rows])
    for hook in hooks:
        hook.remove()
