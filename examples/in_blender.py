"""The three formats of a face side by side, as Blender reads them.

    pip install bpy
    facecli reconstruct examples/photos -o out --format obj,ply,glb
    python examples/in_blender.py out/astronaut.jpg/face0 blender.png

bpy is Blender as a Python package; each of its versions wants one version of Python.
"""

import math
import sys
from pathlib import Path

import bpy
from mathutils import Matrix

SPACING = 0.2  # metres from one head to the next


def read(path: Path) -> bpy.types.Object:
    """The face as the importer makes it: upright, and facing Blender's front view."""
    if path.suffix == ".obj":
        bpy.ops.wm.obj_import(filepath=str(path))
    elif path.suffix == ".glb":
        bpy.ops.import_scene.gltf(filepath=str(path))
    else:  # a PLY names neither axes nor material: without these two arguments the face lies on its back
        bpy.ops.wm.ply_import(filepath=str(path), forward_axis="NEGATIVE_Z", up_axis="Y")
        bpy.context.object.data.materials.append(vertex_colors())
    return bpy.context.object


def vertex_colors() -> bpy.types.Material:
    material = bpy.data.materials.new("vertex colours")
    material.use_nodes = True
    nodes = material.node_tree.nodes
    colors, surface = nodes.new("ShaderNodeVertexColor"), nodes["Principled BSDF"]
    surface.inputs["Roughness"].default_value = 1
    material.node_tree.links.new(colors.outputs["Color"], surface.inputs["Base Color"])
    return material


def light(scene: bpy.types.Scene) -> None:
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy, sun.data.angle, sun.rotation_euler = 2.6, 0.2, (0.9, -0.5, 0)
    scene.collection.objects.link(sun)
    scene.world = bpy.data.worlds.new("world")
    scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.27, 0.285, 0.31, 1)


def render(scene: bpy.types.Scene, path: Path) -> None:
    lens = bpy.data.cameras.new("camera")
    lens.type, lens.ortho_scale = "ORTHO", 6 * SPACING
    scene.camera = bpy.data.objects.new("camera", lens)
    scene.camera.location, scene.camera.rotation_euler = (0, -1, -0.02), (math.pi / 2, 0, 0)
    scene.collection.objects.link(scene.camera)
    scene.render.engine, scene.cycles.samples = "CYCLES", 64
    scene.render.resolution_x, scene.render.resolution_y = 1440, 300
    scene.view_settings.view_transform = "Standard"  # the colours of the files; the default is a film's
    scene.render.filepath = str(path.resolve())
    bpy.ops.render.render(write_still=True)


def main(folder: Path, path: Path) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    for place, kind in enumerate(("obj", "obj", "ply", "ply", "glb", "glb")):
        face, turn = read(folder / f"face.{kind}"), math.radians(40 if place % 2 else 0)
        moved = Matrix.Translation(((place - 2.5) * SPACING, 0, 0)) @ Matrix.Rotation(turn, 4, "Z")
        face.matrix_world = moved @ face.matrix_world
    light(bpy.context.scene)
    render(bpy.context.scene, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
