"""Laying hair and cloth over a picture: soft edges, closed gaps, and nothing changed farther off."""

import numpy as np

from facecli.train.hair import lay

SIZE, SIGMA = 64, 1.0


def disc(radius, centre=(30, 34)):
    ys, xs = np.mgrid[0:SIZE, 0:SIZE]
    return np.hypot(ys - centre[0], xs - centre[1]) < radius


def laid(drawn, cover=None):
    image = np.full((SIZE, SIZE, 3), 100.0, np.float32)
    colour = np.where(drawn[..., None], np.float32([200, 50, 20]), np.float32(0)).astype(np.float32)
    lay(image, colour, drawn, SIGMA, cover)
    return image


def test_within_it_is_its_colour_and_beyond_the_edge_the_picture_stays():
    image = laid(disc(12))
    np.testing.assert_allclose(image[disc(6)], np.tile([200.0, 50, 20], (disc(6).sum(), 1)), atol=0.5)
    assert (image[~disc(12 + 8)] == 100).all()
    edge = image[disc(12.5) & ~disc(11)][:, 0]
    assert ((edge > 100) & (edge < 200)).all()


def test_gaps_that_are_covered_take_the_colours_beside():
    drawn = disc(12)
    drawn[30] = False
    open_gap, closed = laid(drawn), laid(drawn, disc(12))
    np.testing.assert_allclose(closed[30, 34], [200, 50, 20], atol=1)
    assert open_gap[30, 34, 0] < 195


def test_a_cover_at_the_edge_of_the_picture_is_laid_as_elsewhere():
    corner = disc(9, (0, 0))
    image = laid(corner)
    np.testing.assert_allclose(image[0, 0], [200, 50, 20], atol=0.5)
    assert (image[24:, 24:] == 100).all()


def test_nothing_drawn_changes_nothing():
    assert (laid(np.zeros((SIZE, SIZE), bool)) == 100).all()
