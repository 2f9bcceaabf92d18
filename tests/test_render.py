"""The pictures against what they must show."""

from dataclasses import replace

import cv2
import numpy as np
from surfaces import icosphere, landmarks, person_point, scene

from facecli.crop import CROP
from facecli.mesh import Mesh, grid_mesh, vertex_normals
from facecli.render import PANEL, _opacity, preview, shade


def ball_mesh():
    vertices, faces = icosphere()
    vertices = vertices * np.float32(0.09)
    colors = np.full(vertices.shape, 128, np.uint8)
    return Mesh(
        vertices, faces, vertex_normals(vertices, faces), colors, np.zeros((len(vertices), 2), np.float32)
    )


def empty_mesh():
    three = np.zeros((0, 3), np.float32)
    return Mesh(
        three, np.zeros((0, 3), np.int32), three, np.zeros((0, 3), np.uint8), np.zeros((0, 2), np.float32)
    )


def test_clay_ball_is_lit_from_above_left_before_a_dark_backdrop():
    picture = shade(ball_mesh(), 0.0, 200)
    backdrop = shade(empty_mesh(), 0.0, 200)
    assert picture.shape == (200, 200, 3) and picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[0], backdrop[0])
    assert (np.ptp(backdrop.astype(int), axis=2) < 12).all() and backdrop.max() < 110  # all but grey
    brightness = cv2.GaussianBlur(picture.astype(np.float32).mean(2), (0, 0), 2)
    ball = (picture != backdrop).any(2)
    assert 0.2 < ball.mean() < 0.6
    assert brightness[75, 75] > brightness[125, 125] + 30
    assert brightness[ball].min() > 15 and brightness[ball].max() < 253  # nothing drowned, nothing burnt out


def test_colours_are_the_meshs_own_under_the_same_outline():
    mesh = replace(ball_mesh(), colors=np.tile(np.uint8([200, 60, 40]), (len(ball_mesh().vertices), 1)))
    clay, coloured = shade(mesh, 0.0, 96), shade(mesh, 0.0, 96, colors=True)
    backdrop = shade(empty_mesh(), 0.0, 96)
    np.testing.assert_array_equal((clay != backdrop).any(2), (coloured != backdrop).any(2))
    red, green, blue = coloured[40, 44].astype(int)
    assert red > 150 and red - green > 60 and green > blue


def test_an_open_edge_fades_out_and_a_closed_surface_has_none():
    _, _, mesh, _ = fake_face(swollen=False)
    opacity = _opacity(mesh)
    edges = np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    pairs, count = np.unique(edges, axis=0, return_counts=True)
    rim = np.unique(pairs[count == 1])
    assert (opacity[rim] == 0).all() and (opacity == 0).sum() == len(rim)
    next_to = np.setdiff1d(pairs[np.isin(pairs, rim).any(1)].ravel(), rim)
    assert (opacity[next_to] < 1).all() and (opacity > 0.999).mean() > 0.8
    assert (_opacity(ball_mesh()) == 1).all()


def test_edges_are_anti_aliased():
    picture = shade(ball_mesh(), 0.0, 128).astype(int)
    backdrop = shade(empty_mesh(), 0.0, 128).astype(int)
    row, plain = picture[64].mean(1), backdrop[64].mean(1)
    edge = np.flatnonzero(np.abs(row - plain) > 2)[0]
    assert np.abs(row[edge + 2] - plain[edge]) > 4
    finer = shade(ball_mesh(), 0.0, 512).reshape(128, 4, 128, 4, 3).mean((1, 3))
    assert np.abs(finer - picture).mean() < 2


def fake_face(size=128, **where):
    truth = scene(size=size, **where)
    light = np.clip(255 * (truth.positions[..., 2] > 0), 0, 255)
    photo = np.repeat(light[..., None], 3, axis=2).astype(np.uint8)
    mesh = grid_mesh(truth.positions, truth.mask, photo, truth.pose)
    places = truth.camera.project(truth.pose.to_camera(person_point(landmarks())))
    return truth, photo, mesh, places


def test_yaw_turns_the_nose_to_the_pictures_right():
    _, _, mesh, _ = fake_face(swollen=False)
    tip = []
    for yaw in (-35.0, 0.0, 35.0):
        backdrop = shade(empty_mesh(), yaw, 200)
        nose = Mesh(
            mesh.vertices,
            mesh.faces[(mesh.vertices[mesh.faces, 2] > 0.1).all(1)],
            mesh.normals,
            mesh.colors,
            mesh.uv,
        )
        tip.append(np.nonzero((shade(nose, yaw, 200) != backdrop).any(2))[1].mean())
    assert tip[0] < 85 and abs(tip[1] - 99.5) < 3 and tip[2] > 114


def test_preview_has_five_panels_and_the_overlay_lies_on_the_face():
    truth, photo, mesh, places = fake_face(CROP, yaw=25.0, pitch=5.0, roll=20.0, distance=400.0)
    photo[...] = np.where(truth.mask[..., None], [220, 40, 40], [20, 20, 200])
    strip = preview(photo, mesh, truth.camera, truth.pose, truth.crop, places)
    assert strip.shape == (PANEL, 5 * PANEL, 3) and strip.dtype == np.uint8
    panels = np.split(strip, 5, axis=1)
    np.testing.assert_array_equal(panels[2], shade(mesh, 0.0, PANEL))
    np.testing.assert_array_equal(panels[3], shade(mesh, 35.0, PANEL))  # the side that the photo shows
    np.testing.assert_array_equal(panels[4], shade(mesh, 35.0, PANEL, colors=True))
    # Clay hides most of the photo's red; blue around it is untouched.
    overlay = strip[:, PANEL : 2 * PANEL].astype(int)
    mask = cv2.resize(truth.mask.astype(np.uint8), (PANEL, PANEL), interpolation=cv2.INTER_NEAREST) > 0
    solid = cv2.erode(mask.astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
    away = cv2.dilate(mask.astype(np.uint8), np.ones((17, 17), np.uint8)) == 0
    assert (overlay[solid][:, 1] > 55).mean() > 0.95
    near_photo = np.abs(overlay - np.int64([20, 20, 200])).max(2) < 12
    assert near_photo[away].mean() > 0.97  # all but dots of hidden landmarks
    for x, y in (truth.crop.to_crop(places[[30, 33, 48]]) + 0.5) * PANEL / CROP - 0.5:
        red, green, blue = overlay[round(y), round(x)]
        assert red > 150 and green > 120 and blue < 150  # a yellow dot


def test_the_whole_face_stands_in_the_last_panels():
    truth, photo, mesh, places = fake_face(size=64, yaw=-25.0)
    strip = preview(photo, mesh, truth.camera, truth.pose, truth.crop, places, ball_mesh())
    np.testing.assert_array_equal(strip[:, 3 * PANEL : 4 * PANEL], shade(ball_mesh(), -35.0, PANEL))
    other = preview(photo, mesh, truth.camera, truth.pose, truth.crop, places)
    np.testing.assert_array_equal(strip[:, : 2 * PANEL], other[:, : 2 * PANEL])


def test_preview_survives_a_mesh_of_nothing_and_landmarks_of_nowhere():
    truth, photo, _, places = fake_face(size=64)
    places[0], places[1] = np.nan, 1e12
    strip = preview(photo, empty_mesh(), truth.camera, truth.pose, truth.crop, places)
    assert strip.shape == (PANEL, 5 * PANEL, 3)


def test_same_mesh_gives_the_same_picture():
    _, _, mesh, _ = fake_face()
    np.testing.assert_array_equal(shade(mesh, 20.0, 128), shade(mesh, 20.0, 128))
