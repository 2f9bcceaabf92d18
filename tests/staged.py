"""What the compiled path drew one head from, as the tensors that the batched path draws it from."""

import numpy as np
import torch

from facecli.train import complexion, synth, tongue
from facecli.train.tensor.complexion import Look
from facecli.train.tensor.head import Camera
from facecli.train.tensor.scene import Scene
from facecli.train.tensor.shade import Lights
from facecli.train.tensor.tongue import Lick
from facecli.train.tongue import COATED, GRAIN, PINK

CPU = torch.device("cpu")


def batch(*arrays):
    """Arrays of one head as tensors of a batch of one."""
    made = tuple(torch.tensor(np.asarray(array))[None] for array in arrays)
    return made[0] if len(made) == 1 else made


def batch_of(light):
    return Lights(*batch(light.irradiance, light.mirror, light.lamp, light.lamp_colour))


class Recorder:
    """Watches the compiled path make one sample, and keeps what went in and out of its parts."""

    def __init__(self, monkeypatch):
        self.seen, self.monkeypatch = {}, monkeypatch
        for module, name in (
            (synth, "random_relief"), (synth, "moles_and_freckles"), (synth, "random_light"), (synth, "shade"),
            (synth, "Projection"), (synth, "bump"), (synth, "background"), (synth, "cavity"),
            (synth, "rasterize"), (synth, "vertex_normals"), (synth, "colours"), (synth, "pack_coarse"),
            (synth, "_exposed"), (complexion, "_grown"), (complexion, "_coloured"), (complexion, "_eye_colour"),
        ):  # fmt: skip
            self.watch(module, name)
        for name in ("_albedo", "_shadow", "_relief_map", "_occlusion"):
            self.watch(synth.Synthesizer, name)
        self.watch(tongue.Tongue, "paint")

    def watch(self, owner, name):
        wrapped = getattr(owner, name)

        def watching(*arguments):
            before = next(
                (a.bit_generator.state for a in arguments if isinstance(a, np.random.Generator)), None
            )
            answer = wrapped(*arguments)
            kept = tuple(a.copy() if isinstance(a, np.ndarray) else a for a in arguments)
            returned = answer.copy() if isinstance(answer, np.ndarray) else answer
            self.seen.setdefault(name, []).append((kept, returned, before))
            return answer

        self.monkeypatch.setattr(owner, name, watching)

    def given(self, name, call=0):
        return self.seen[name][call][0]

    def answer(self, name, call=0):
        return self.seen[name][call][1]

    def scene(self, size):
        """The one head as a batch."""
        rotation, translation, _, frame = self.given("Projection")
        fibre, hairline = self.given("_grown")[2:4]
        haired, nape, fixed = self.given("_coloured")[7:10]
        light = self.answer("random_light")
        softness = self.given("_shadow")[5]
        shine = self.given("shade")[5].reshape(size, size)
        drawn = self.answer("rasterize")[0] >= 0
        gloss = self.answer("colours")[1]
        iris, rays, phase, white, pupil = self.eyes()
        look = Look(
            *batch(
                self.answer("moles_and_freckles"),
                self.answer("_albedo")[1],
                fibre,
                hairline.astype(np.float32),
            ),
            nape=torch.tensor([float(nape)]),
            shaved=torch.tensor([not haired]),
            cloth=batch(fixed[0]),
            gums=batch(fixed[1]),
            teeth=batch(fixed[2]),
            hair=batch(fixed[3]),
            iris=iris,
            rays=rays,
            phase=phase,
            white=white,
            pupil=pupil,
        )
        return Scene(
            vertices=batch(self.given("vertex_normals")[0]),
            beta=torch.zeros(1, 53),
            camera=Camera(*batch(rotation, translation, frame), size),
            look=look,
            lick=self.lick(),
            relief=batch(self.answer("random_relief")),
            lights=batch_of(light),
            softness=torch.tensor([float(softness)]),
            shine=torch.tensor([float(np.median((shine / gloss)[drawn]))]),
            exposure=torch.tensor([self.exposure()]),
        )

    def lick(self):
        """The lots of the tongue's looks, drawn again."""
        lip, state = self.given("paint")[5], self.seen["paint"][0][2]
        again = np.random.default_rng()
        again.bit_generator.state = state
        noise = again.random((GRAIN, GRAIN), np.float32)
        coat_at, coated = again.uniform(25, 50), again.uniform(0, 0.7)
        tone = (
            PINK
            * again.uniform(0.65, 1.25)
            * np.array([1, again.uniform(0.8, 1.15), again.uniform(0.8, 1.1)])
        )
        paste, wet, dim = COATED * again.uniform(0.8, 1.1), again.uniform(1.0, 3.0), again.uniform(0.5, 0.95)
        scalars = (torch.tensor([float(value)]) for value in (lip, coated, coat_at, wet, dim))
        lip, coated, coat_at, wet, dim = scalars
        tones = batch(tone.astype(np.float32), paste.astype(np.float32))
        return Lick(lip, batch(noise), coated, coat_at, *tones, wet, dim)

    def exposure(self):
        """What the face's median light becomes."""
        radiance, exposure = self.given("_exposed")[:2]
        level = np.median(radiance.mean(-1)[self.region()])
        return float(exposure * max(level, 1e-3))

    def region(self):
        return self.given("pack_coarse")[2]

    def eyes(self):
        """The lots that the eyes' colours were drawn by, drawn again."""
        if "_eye_colour" not in self.seen:
            return torch.zeros(1, 3), *(torch.ones(1) for _ in range(4))
        rng = np.random.default_rng()
        rng.bit_generator.state = self.seen["_eye_colour"][0][2]
        irises = np.array(
            [[0.08, 0.04, 0.02], [0.03, 0.015, 0.01], [0.12, 0.2, 0.3], [0.12, 0.17, 0.08], [0.2, 0.13, 0.06]]
        )
        iris = irises[rng.choice(5, p=[0.35, 0.3, 0.15, 0.1, 0.1])] * rng.uniform(0.7, 1.4)
        rays, phase, white = rng.integers(18, 40), rng.uniform(0, 6), rng.uniform(0.7, 1.1)
        pupil = complexion.PUPIL_ANGLE * rng.uniform(0.7, 1.5)
        return (
            batch(iris.astype(np.float32)),
            *(torch.tensor([float(value)]) for value in (rays, phase, white, pupil)),
        )
