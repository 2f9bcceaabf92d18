"""Arrays that stay on a device: each is copied there once, however often it is asked for."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_KEPT: dict[tuple[int, torch.device], tuple[np.ndarray, Tensor]] = {}


def resident(array: np.ndarray, device: torch.device) -> Tensor:
    """A constant array of a module, or of a model that lives as long as the process."""
    key = (id(array), device)
    if key not in _KEPT:
        _KEPT[key] = (
            array,
            torch.tensor(array, device=device),
        )  # the array is kept, lest its id be another's
    return _KEPT[key][1]


def numbers(device: torch.device, *values: float) -> Tensor:
    """A few numbers; of what is compiled they become a part."""
    if torch.compiler.is_compiling():
        return torch.stack([torch.full((), value, dtype=torch.float32, device=device) for value in values])
    return _numbers(device, values)


@lru_cache
def _numbers(device: torch.device, values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)
