"""Do a training sample's labels agree with the head that was drawn? Asked of trimesh, which shares no code with it."""

import cv2
import numpy as np
import trimesh
from heads import head_model

from facecli.train.sample import UNIT, gentle
from facecli.upsample import upsample_masked


class Watched:
    """What `synth` or `rerender` draws first, and the last projection, which no sample carries."""

    def __init__(self, module, monkeypatch):
        self.projection, self.drawings = None, []
        rasterize, projection = module.rasterize, module.Projection

        def drawing(pixels, z, *rest):
            answer = rasterize(pixels, z, *rest)
            self.drawings.append((np.array(pixels, np.float64), np.array(z, np.float64), answer[0]))
            return answer

        def projecting(*arguments):
            self.projection = projection(*arguments)
            return self.projection

        monkeypatch.setattr(module, "rasterize", drawing)
        monkeypatch.setattr(module, "Projection", projecting)

    @property
    def index(self):
        """Which of the drawn triangles each pixel shows, -1 for none."""
        return self.drawings[0][2]

    def check(self, made, seed):
        """Do the sample's labels agree with what was drawn?"""
        check_labels(made, self.projection, *self.drawings[0][:2], seed)

    def check_detail(self, made):
        """Do the sample's coarse surface and detail, which must be without relief, make up what was drawn?"""
        check_detail(made, self.projection, *self.drawings[0][:2])


def unprojected(projection, size, where, z):
    """Camera-frame points at pixels (x, y) of a crop of `size` px, at depths z."""
    frame = projection.frame
    plane = (where - frame[:, 2]) @ np.linalg.inv(frame[:, :2]).T / projection.focal
    return np.c_[plane, np.ones(len(plane))] * np.reshape(z, (-1, 1))


def placed(projection, size, where, depth):
    """Camera-frame points at pixels (x, y), with depth in mm along the line of sight through the crop's centre."""
    rays = unprojected(projection, size, where, np.ones(len(where)))
    axis = unprojected(projection, size, np.full((1, 2), (size - 1) / 2), np.ones(1))[0]
    axis /= np.linalg.norm(axis)
    return rays * ((projection.translation @ axis - depth) / (rays @ axis))[:, None]


def rounder(vertices, faces):
    """Each triangle in four, the new corners half way to the planes that touch the surface at the edge's ends."""
    flat = trimesh.Trimesh(vertices, faces, process=False)
    weighted = flat.face_normals * flat.area_faces[:, None]
    normals = trimesh.geometry.mean_vertex_normals(len(vertices), faces, weighted)
    planes = normals[:, :, None] * normals[:, None]
    through = np.einsum("vij,vj->vi", planes, vertices)
    finer, corners, of_ends = trimesh.remesh.subdivide(
        vertices, faces, vertex_attributes={"planes": planes.reshape(-1, 9), "through": through}
    )
    above = np.einsum("vij,vj->vi", of_ends["planes"].reshape(-1, 3, 3), finer) - of_ends["through"]
    return trimesh.Trimesh(finer - 0.5 * above, corners, process=False)


def check_detail(made, projection, pixels, z):
    """A point of the coarse surface, moved by the detail along the surface's normal, lies on the surface."""
    size = len(made.image)
    surface = rounder(unprojected(projection, size, pixels, z), head_model().faces)
    smooth = upsample_masked(made.coarse[..., 3] * UNIT, made.known > 0, size)
    counted = cv2.resize(gentle(made.coarse[..., 3] * UNIT, made.known), (size, size)) == 1
    rows, columns = np.nonzero((np.abs(made.detail) > 0.1) & counted)  # not where there is nothing to mend
    pick = np.random.default_rng(0).permutation(len(rows))[:400]
    rows, columns = rows[pick], columns[pick]
    points = placed(
        projection, size, np.stack([columns, rows], 1) + 0.0, smooth[rows, columns].astype(np.float64)
    )
    _, before, triangle = trimesh.proximity.closest_point(surface, points)
    mended = points + made.detail[rows, columns, None] * surface.face_normals[triangle]
    _, after, _ = trimesh.proximity.closest_point(surface, mended)
    assert len(rows) == 400 and np.median(before) > 0.1
    assert np.median(after) < 0.15 * np.median(before)
    assert np.quantile(after, 0.9) < 0.5 * np.quantile(before, 0.9)


def check_labels(made, projection, pixels, z, seed):
    """pixels, z: where the sample's vertices were drawn, in a crop of the image's size."""
    size = len(made.image)
    vertices = unprojected(projection, size, pixels, z)
    surface = trimesh.Trimesh(vertices, head_model().faces, process=False)

    inside = made.known > 0
    inside[1:-1, 1:-1] &= inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    rows, columns = np.nonzero(inside)
    pick = np.random.default_rng(seed).permutation(len(rows))[:300]
    rows, columns = rows[pick], columns[pick]
    where = (np.stack([columns, rows], 1) + 0.5) * size / 128 - 0.5
    points = placed(projection, size, where, made.coarse[rows, columns, 3].astype(np.float64) * UNIT)
    nearest, distance, triangle = trimesh.proximity.closest_point(surface, points)
    # A coarse pixel is the mean of four: exact on a plane, a little inside a bend.
    assert np.median(distance) < 0.03
    assert np.quantile(distance, 0.9) < 0.2

    corners = head_model().faces[triangle]
    bary = trimesh.triangles.points_to_barycentric(surface.triangles[triangle], nearest)
    template = (head_model().neutral[corners] * bary[..., None]).sum(1)
    off = np.linalg.norm(made.coarse[rows, columns, :3] * UNIT - template, axis=1)
    assert np.median(off) < 0.05
    assert np.quantile(off, 0.9) < 0.4
