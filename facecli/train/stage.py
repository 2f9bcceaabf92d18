"""What heads that never were are made of: a head model, and what its people borrow."""

from dataclasses import dataclass
from pathlib import Path

from facecli.train.hair import Hair, load_hair
from facecli.train.headmodel import HeadModel
from facecli.train.light import Light, load_lights
from facecli.train.pool import Pool
from facecli.train.second_head import Morphs, load_morphs


@dataclass(frozen=True, eq=False)
class Stage:
    """The head model; whose skins, expressions and backgrounds are lent; lights; styles of hair; and a second head's
    morphs, without which nobody is sculpted."""

    model: HeadModel
    pool: Pool
    lights: list[Light]
    styles: list[Hair]
    morphs: Morphs | None = None

    @classmethod
    def load(cls, assets: Path, pool: Path) -> "Stage":
        """From the licensed assets, and what `facecli.train.pool.build` wrote."""
        model = HeadModel.load(assets / "head_model")
        return cls(
            model,
            Pool.load(pool),
            load_lights(assets / "hdri"),
            load_hair(assets / "hair" / "hair"),
            load_morphs(model, assets / "second_head" / "vitruvian"),
        )
