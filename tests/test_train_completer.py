"""The completion network: what it learns from, that it begins as a Gaussian's posterior, and how well it completes."""

import numpy as np
import pytest
import torch
from heads import head_model, needs_assets

from facecli.complete import load_face_model, load_geometry
from facecli.completion import CELLS, INPUTS, OUTPUT, fingerprint
from facecli.runtime import cpu_session
from facecli.train import completer as module
from facecli.train import glimpses as glimpses_module
from facecli.train.completer import Completer, to_onnx, trained_for
from facecli.train.glimpses import Glimpse, Glimpses
from facecli.train.unwrap import unwrap
from facecli.weights import load_weights

pytestmark = needs_assets
PEOPLE = 60


@pytest.fixture(scope="module")
def geometry():
    return load_geometry(load_weights())


@pytest.fixture(scope="module")
def glimpses(geometry):
    with pytest.MonkeyPatch.context() as patch:
        for name, count in (("VIEWS", 120), ("LOOKS", 300), ("NOISES", 40)):
            patch.setattr(glimpses_module, name, count)
        return Glimpses(head_model(), unwrap(head_model()), geometry, seed=7)


@pytest.fixture(scope="module")
def untrained(geometry, glimpses):
    torch.manual_seed(0)
    network = Completer(geometry)
    network.begin(glimpses.seen.numpy())
    return network.eval()


@pytest.fixture(scope="module")
def batch(glimpses):
    return glimpses.batch(torch.Generator().manual_seed(5), PEOPLE, held_back=True)


def test_a_glimpse_shows_what_is_visible_and_nothing_else(batch):
    hidden = batch.visibility == 0
    assert 0.2 < hidden.float().mean() < 0.95
    assert not batch.offset[hidden].any()
    assert batch.visibility.min() >= 0 and batch.visibility.max() <= 1
    assert batch.confidence.min() > 0 and batch.confidence.max() <= 1
    off = (batch.offset - batch.wanted)[~hidden].norm(dim=1)
    assert off.median() < 2 < batch.wanted[~hidden].norm(dim=1).median()


def test_noise_is_what_it_is_said_to_be(glimpses):
    many = glimpses.batch(torch.Generator().manual_seed(6), 200)
    seen = many.visibility > 0
    off = torch.stack(
        [
            (offset - wanted)[cells].norm(dim=1).median()
            for offset, wanted, cells in zip(many.offset, many.wanted, seen, strict=True)
        ]
    )
    assert torch.corrcoef(torch.stack([torch.log(off), torch.log(many.noise)]))[0, 1] > 0.8


def test_training_never_sees_what_is_held_back(glimpses):
    """Views and expressions of the one kind are in no batch of the other."""
    random = torch.Generator().manual_seed(8)
    patterns = [
        {tuple(seen.reshape(-1).nonzero().reshape(-1).tolist()) for seen in part}
        for part in (glimpses.seen[:: glimpses_module.HELD_BACK], glimpses.seen)
    ]
    mine = {tuple((seen > 0).reshape(-1).nonzero().reshape(-1).tolist()) for seen in glimpses.seen.flip(2)}
    held = patterns[0] | {
        tuple(seen.reshape(-1).nonzero().reshape(-1).tolist())
        for seen in glimpses.seen[:: glimpses_module.HELD_BACK].flip(2)
    }
    assert len(mine) > 60
    for kept in (False, True):
        drawn = glimpses.batch(random, 80, held_back=kept)
        found = {tuple(seen.reshape(-1).nonzero().reshape(-1).tolist()) for seen in drawn.visibility}
        assert (found <= held) is kept
        if not kept:
            assert not found & (held - {()})


def test_batches_are_repeatable(glimpses):
    first, again = (glimpses.batch(torch.Generator().manual_seed(3), 4) for _ in range(2))
    assert torch.equal(first.offset, again.offset) and torch.equal(first.wanted, again.wanted)


def test_views_from_one_side_show_that_side(glimpses):
    across = glimpses.seen.sum(1)
    left, right = across[:, CELLS // 2 :].sum(1), across[:, : CELLS // 2].sum(1)
    lopsided = torch.abs(left - right) / (left + right + 1e-6)
    assert (lopsided > 0.6).float().mean() > 0.15, "profiles"
    assert (lopsided < 0.2).float().mean() > 0.1, "and faces from the front"


def gaussian(network, glimpse, motions=True, noise=1.0):
    """Modes, and motions if asked for, by the posterior's normal equations, solved exactly; Huber weights."""
    rows = network.rows.numpy().reshape(len(network.used), 3, -1).astype(np.float64)
    rows = rows[..., : network.unknowns - (0 if motions else 7)]
    used, found = network.used.numpy(), []
    for offset, visibility, confidence in zip(
        glimpse.offset, glimpse.visibility, glimpse.confidence, strict=True
    ):
        density = visibility.numpy().reshape(-1)[used]
        weight = density / (density + 0.15) * confidence.numpy().reshape(-1)[used] ** 2
        weight *= module.INDEPENDENT / max(weight.sum(), 1e-9) / noise**2
        known, huber = offset.numpy().reshape(-1, 3)[used], np.ones(len(used))
        for _ in range(3):
            root = np.sqrt(weight * huber)[:, None]
            heavy = (rows * root[..., None]).reshape(-1, rows.shape[2])
            system = heavy.T @ heavy + np.eye(rows.shape[2])
            modes = np.linalg.solve(system, heavy.T @ (known * root).reshape(-1))
            huber = 1 / np.maximum(1, np.linalg.norm(known - rows @ modes, axis=1) / (2 * noise))
        found.append(np.pad(modes, (0, network.unknowns - len(modes))))
    return torch.from_numpy(np.stack(found)).float()


def hidden_error(network, found, glimpse):
    """Mean distance (mm) of the cells that nobody sees from the truth, for each head."""
    wanted = glimpse.wanted.reshape(len(found), -1, 3)[:, network.used]
    hidden = (glimpse.visibility.reshape(len(found), -1)[:, network.used] == 0) * network.counts
    off = ((found @ network.rows.T).reshape(wanted.shape) - wanted).norm(dim=2)
    return ((off * hidden).sum(1) / hidden.sum(1)).numpy()


def test_it_begins_close_to_the_posterior(untrained, glimpses):
    clean = glimpses.batch(torch.Generator().manual_seed(9), 24)
    visible = (clean.visibility > 0)[..., None]
    clean = Glimpse(
        clean.wanted * visible, clean.visibility, torch.ones_like(clean.confidence), clean.wanted, clean.noise
    )
    with torch.inference_mode():
        ours = untrained.solve(clean.offset, clean.visibility, clean.confidence)
    exact = hidden_error(untrained, gaussian(untrained, clean), clean)
    mean = hidden_error(untrained, torch.zeros_like(ours), clean)
    assert np.mean(hidden_error(untrained, ours, clean)) < 1.5 * np.mean(exact) < 0.4 * np.mean(mean)


def test_two_steps_of_training_are_repeatable_and_change_what_it_says(geometry, monkeypatch, capsys):
    for name, count in (("VIEWS", 20), ("LOOKS", 20), ("NOISES", 10)):
        monkeypatch.setattr(glimpses_module, name, count)
    monkeypatch.setattr(module, "BATCH", 4)
    first, again = (module.train(head_model(), geometry, 2)[0] for _ in range(2))
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert float(first.mended.weight.detach().abs().max()) > 0
    assert "2 of 2" in capsys.readouterr().err
    halves = [tensor for tensor in first.state_dict().values() if tensor.is_floating_point()]
    assert all(torch.equal(tensor, tensor.half().float()) for tensor in halves)


def test_the_export_says_what_torch_says(untrained, geometry, batch):
    with torch.no_grad():
        for tensor in untrained.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())
    data = to_onnx(untrained)
    assert trained_for(data) == fingerprint(geometry.modes)
    assert len(data) < 2_000_000, "halves, and no modes"
    session = cpu_session(data, 1, tensors={"modes": geometry.modes.astype(np.float16)})
    for k in range(3):
        one = [getattr(batch, name)[k : k + 1] for name in INPUTS]
        with torch.inference_mode():
            wanted = untrained(*one).numpy()
        (found,) = session.run([OUTPUT], {name: part.numpy() for name, part in zip(INPUTS, one, strict=True)})
        np.testing.assert_allclose(found, wanted, atol=0.02)


def test_a_network_without_a_fingerprint_is_of_no_modes():
    assert trained_for(b"") == ""


def test_the_packaged_network_beats_the_face_models_posterior_where_nobody_sees(untrained, batch):
    packaged = load_face_model(load_weights()).network
    step = untrained.coarse // CELLS
    errors = []
    for k in range(PEOPLE):
        change = packaged.change(*(getattr(batch, name)[k].numpy() for name in INPUTS))
        change = (
            change.reshape(CELLS, step, CELLS, step, 3).mean((1, 3)).reshape(-1, 3)[untrained.used.numpy()]
        )
        off = np.linalg.norm(change - batch.wanted[k].reshape(-1, 3)[untrained.used].numpy(), axis=1)
        hidden = (batch.visibility[k].reshape(-1)[untrained.used] == 0).numpy() * untrained.counts.numpy()
        errors.append((off * hidden).sum() / hidden.sum())
    posterior = hidden_error(untrained, gaussian(untrained, batch, motions=False), batch)
    moving = hidden_error(untrained, gaussian(untrained, batch), batch)
    mean = hidden_error(untrained, torch.zeros(PEOPLE, untrained.unknowns), batch)
    assert np.mean(errors) < 0.8 * np.mean(posterior)
    assert np.mean(errors) < 1.05 * np.mean(moving), "and is level with one that knows of the pose's error"
    assert np.mean(errors) < 0.35 * np.mean(mean)
