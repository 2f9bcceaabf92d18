"""Every photo below a folder or bucket, on a Ray cluster; started again, it goes on where it was.

    python examples/on_ray.py s3://bucket/photos s3://bucket/rows s3://bucket/checkpoint
    facecli assemble rows/ -o out       # later, on any machine: the meshes

The cluster needs `pip install 'facecli[ray]'` on every node and at least 4 CPU slots. RAY_ADDRESS says where it is.
"""

import sys

import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.data.checkpoint import CheckpointConfig

from facecli.cluster import FaceBatch
from facecli.inputs import EXTENSIONS

photos, rows, checkpoint = sys.argv[1:]
DataContext.get_current().checkpoint_config = CheckpointConfig(id_column="path", checkpoint_path=checkpoint)
files = ray.data.read_binary_files(
    photos, include_paths=True, file_extensions=[extension[1:] for extension in EXTENSIONS]
)
files.map_batches(
    FaceBatch,
    fn_constructor_kwargs={"root": photos},
    batch_size=16,
    num_cpus=1,  # or num_gpus=1, with Settings(COMPACT.options, device="cuda") as `settings`
    compute=ActorPoolStrategy(min_size=1, max_size=1000),
).write_parquet(rows)
