"""A batch of heads is drawn as the compiled path draws each, and its labels are the geometry that was drawn."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from heads import head_model, needs_assets
from labels import check_labels
from staged import CPU, Recorder, batch
from test_train_synth import synthesizer

from facecli.train import synth
from facecli.train import tongue as compiled
from facecli.train.sample import Sample
from facecli.train.synth import Synthesizer
from facecli.train.tensor.head import Camera, Head
from facecli.train.tensor.portrait import portrait
from facecli.train.tensor.tongue import Tongue

pytestmark = needs_assets


@lru_cache(maxsize=1)
def head():
    return Head(head_model(), CPU)


@lru_cache(maxsize=1)
def tongue():
    return Tongue(compiled.Tongue(head_model()), CPU)


@pytest.fixture
def made(monkeypatch):
    """One sample of the compiled path with nothing on or before its head, its recording, and the batched path's."""

    def make(seed, size, out=0.0):
        monkeypatch.setattr(synth, "DRESSED", 0.0)
        monkeypatch.setattr(synth, "STUCK_OUT", out)
        for name in ("glasses", "occluder", "speech"):
            monkeypatch.setattr(synth, name, lambda *_: None)
        monkeypatch.setattr(Synthesizer, "_hair", lambda self, rng, r, t, p, z, *_: np.zeros(z.shape, bool))
        synthesizer()  # made before it is watched
        recorder = Recorder(monkeypatch)
        theirs = synthesizer().sample(np.random.default_rng(seed), size)
        scene = recorder.scene(size)
        monkeypatch.undo()
        mine = portrait(head(), tongue(), scene, batch(recorder.answer("background").astype(np.float32)))
        return theirs, recorder, scene, mine

    return make


@pytest.mark.parametrize("seed, size, out", [(1, 256, 0.0), (3, 256, 1.0), (4, 512, 1.0)])
def test_a_portrait_is_the_compiled_ones(made, seed, size, out):
    theirs, recorder, scene, mine = made(seed, size, out)
    assert mine.lost == 0
    same = mine.view.drawing.index[0].numpy() == recorder.answer("rasterize")[0]
    assert same.mean() > 0.9999
    labels = {key: value[0].numpy() for key, value in mine.labels(mine.image, mine.region).items()}
    for key in ("region", "known", "opening"):
        assert (labels[key] == getattr(theirs, key)).mean() > 0.9999, key
    assert np.quantile(np.abs(labels["coarse"] - theirs.coarse), 0.9999) < 1e-4
    assert scene.camera.footprint[0] == pytest.approx(theirs.footprint)
    if size == 512:
        assert (np.isnan(labels["detail"]) == np.isnan(theirs.detail)).mean() > 0.9999
        off = np.abs(labels["detail"] - theirs.detail)
        assert np.nanmax(off[same]) < 0.05
        assert np.nanquantile(off, 0.9999) < 0.01
    off = np.abs(labels["image"].astype(int) - theirs.image)
    assert np.quantile(off, 0.99) <= 3
    assert off.mean() < 0.5


def test_labels_agree_with_a_mesh_of_trimesh(made):
    _, _, scene, mine = made(2, 256)
    packed = {key: value[0].numpy() for key, value in mine.labels(mine.image, mine.region).items()}
    sample = Sample(
        packed["image"],
        packed["region"],
        packed["coarse"],
        packed["known"],
        None,
        1.0,
        1.0,
        packed["opening"],
    )
    pixels = scene.camera.pixels(mine.view.placed)[0].numpy()

    class Projected:
        frame, focal = scene.camera.frame[0].numpy(), 1000.0
        translation = scene.camera.translation[0].numpy()

    assert sample.known.any()
    check_labels(sample, Projected, pixels, mine.view.placed[0, :, 2].numpy().astype(np.float64), 2)


def test_a_head_is_the_same_in_whatever_batch(made):
    _, _, scene, mine = made(5, 256)
    one = scene.camera
    two = Camera(*(torch.cat([a, a]) for a in (one.rotation, one.translation, one.frame)), 256)
    view = head().view(torch.cat([scene.vertices, scene.vertices * 0.9]), two)
    assert torch.equal(view.drawing.index[:1], mine.view.drawing.index)
    assert torch.equal(view.depth[:1], mine.view.depth)
    assert not torch.equal(view.drawing.index[1], view.drawing.index[0])
