"""Source B on a device: training batches from seeds, without a picture ever leaving it."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from facecli.errors import FaceError
from facecli.train import tongue as compiled
from facecli.train.garment import Wardrobe
from facecli.train.sample import FULL, REGION, Sample
from facecli.train.shards import Lot
from facecli.train.stage import Stage
from facecli.train.tensor import garment, hair
from facecli.train.tensor.backdrop import backdrop
from facecli.train.tensor.dice import Dice
from facecli.train.tensor.fusion import calling, fastest
from facecli.train.tensor.garment import Closet
from facecli.train.tensor.hair import Styles, grow
from facecli.train.tensor.head import Head
from facecli.train.tensor.portrait import portrait
from facecli.train.tensor.props import before_the_face
from facecli.train.tensor.scene import hair_colour, scene
from facecli.train.tensor.sculptor import Sculptor
from facecli.train.tensor.shade import Lights
from facecli.train.tensor.skin import People
from facecli.train.tensor.tongue import Tongue

BATCH = {"cpu": 4, "cuda": 64}
"""Pictures of 256 px that are drawn at a time for shards: each takes 0.07 GB of memory; a quarter as many of 512 px."""
FILLED = {"cpu": 1, "cuda": 16}
"""Batches for shards are filled up to a multiple of this: what is compiled is compiled for each size of a batch."""


class Source:
    """Makes batches; holds on its device what is the same for all of them."""

    def __init__(self, stage: Stage, device: torch.device) -> None:
        def stacked(field: str) -> Tensor:
            values = np.stack([getattr(light, field) for light in stage.lights])
            return torch.from_numpy(values).float().to(device)

        model = stage.model
        self.device = device
        self.head, self.people = Head(model, device), People(stage.pool, model, device)
        self.lights = Lights(*(stacked(field) for field in ("irradiance", "mirror", "lamp", "lamp_colour")))
        self.sculptor = None if stage.morphs is None else Sculptor(stage.morphs, device)
        self.tongue = Tongue(compiled.Tongue(model), device)
        self.styles, self.closet = Styles(stage.styles, device), Closet(Wardrobe(model), device)

    @torch.no_grad()
    def batch(self, seeds: Sequence[Sequence[int]], size: int) -> dict[str, Tensor]:
        """The samples of these seeds, pictures of `size` px: the fields of `facecli.train.sample.Sample`, stacked.

        A sample's lots are its seed's alone. The same seeds in the same batch on the same device are the same to the
        byte; in another batch, or on another device, the same but for rounding. Raises FaceError when a picture asked
        for more room than its drawing had.
        """
        with torch.backends.cudnn.flags(allow_tf32=False, deterministic=True), calling(fastest(self.device)):
            fields, lost = self._drawn(Dice(seeds, self.device), size)
        if lost.item():  # the one number that is waited for
            raise FaceError(
                f"a batch of synthetic heads left out {lost.item()} points or things for want of room"
            )
        return fields

    def _drawn(self, dice: Dice, size: int) -> tuple[dict[str, Tensor], Tensor]:
        lots = scene(dice, self.head, self.tongue, self.people, self.lights, size, self.sculptor)
        made = portrait(self.head, self.tongue, lots, backdrop(dice, self.people.crops, size))
        camera, image, region = lots.camera, made.image, made.region
        bare = made.view.drawing.near
        image, locks, lost_hair = grow(
            self.styles.chosen(dice),
            hair_colour(dice),
            dice.chance(hair.OFTEN),
            camera,
            lots.lights,
            bare,
            image,
        )
        region = region & (locks <= 0)
        clothes = self.closet.put_on(dice, lots.vertices, hair_colour(dice))
        image, cloth, lost_cloth = clothes.dress(
            self.closet, camera, lots.lights, dice.chance(garment.DRESSED), made.bare, torch.maximum(bare, locks),
            dice.uniform(0, 0.5), image,
        )  # fmt: skip
        landmarks = lots.vertices[:, self.head.marks]
        image, region, lost_things = before_the_face(
            dice, image, region & ~cloth, landmarks, camera, self.people
        )
        fields = made.labels(image, region)
        fields["footprint"] = camera.footprint
        fields["expression"] = lots.beta
        return fields, made.lost + lost_hair + lost_cloth + lost_things

    def drawn(self, lots: Sequence[Lot]) -> dict[tuple[int, int], Sample]:
        """The samples of a shard that are source B's, by their seeds."""
        made: dict[tuple[int, int], Sample] = {}
        for size in (REGION, FULL):
            seeds = [one.seed for one in lots if one.size == size]
            step = max(1, BATCH[self.device.type] * REGION**2 // size**2)
            for begin in range(0, len(seeds), step):
                some = seeds[begin : begin + step]
                missing = -len(some) % FILLED[self.device.type]
                # the third number: of a seed's own, the lot has been drawn already
                own = [(*seed, 1) for seed in some + some[-1:] * missing]
                made |= zip(some, self.samples(own, size, len(some)), strict=True)
        return made

    def samples(self, seeds: Sequence[Sequence[int]], size: int, count: int | None = None) -> list[Sample]:
        """The same, one by one and off the device, as shards hold them; if not all, the first so many."""
        count = len(seeds) if count is None else count
        fields = {key: value[:count].cpu().numpy() for key, value in self.batch(seeds, size).items()}
        detail = fields.pop("detail", None)
        footprints = fields.pop("footprint")
        source = "synthetic" if size < FULL else "synthetic_detail"
        return [
            Sample(
                **{key: value[k] for key, value in fields.items()},
                detail=None if detail is None else detail[k],
                footprint=float(footprints[k]),
                depth_weight=1.0,
                source=source,
            )
            for k in range(count)
        ]

    def batches(self, batch_size: int, seed: int) -> Iterator[dict[str, Tensor]]:
        """Endless batches as `facecli.train.loader.collate` makes them, on the device, of pictures of 256 px, without
        detail and without what cameras do to pictures."""
        number = 0
        while True:
            fields = self.batch([(seed, number + k) for k in range(batch_size)], REGION)
            number += batch_size
            yield collated(fields)


def collated(fields: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch of pictures of 256 px in the layout of `facecli.train.loader.collate`."""
    image = fields["image"]
    n, device = len(image), image.device
    return {
        "image": image,
        "sharp": torch.zeros(0, FULL, FULL, 3, dtype=torch.uint8, device=device),
        "rows": torch.zeros(0, dtype=torch.long, device=device),
        "region": fields["region"][:, None].float() / 255,
        "coarse": fields["coarse"].permute(0, 3, 1, 2).contiguous(),
        "known": fields["known"][:, None],
        "opening": fields["opening"][:, None].float() / 255,
        "detail": torch.zeros(0, 1, FULL, FULL, device=device),
        "footprint": fields["footprint"],
        "depth_weight": torch.ones(n, device=device),
    }
