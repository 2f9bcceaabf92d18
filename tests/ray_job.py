"""Photos through FaceBatch on two Ray nodes of this machine: run as a program by test_cluster.

    python ray_job.py PHOTOS ROWS CHECKPOINT

First the photos whose names begin with `a`, then all of them with the same checkpoint. Prints the number of nodes.
"""

import os
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster
from ray.data import ActorPoolStrategy, DataContext
from ray.data.checkpoint import CheckpointConfig
from stand_in import start

from facecli.cluster import FaceBatch


def main() -> None:
    photos, rows, checkpoint = sys.argv[1:]
    # Each of Ray's processes takes seconds to start: none in advance, and none is ended that can be used again.
    os.environ["RAY_prestart_worker_first_driver"] = "0"
    os.environ["RAY_idle_worker_killing_time_threshold_ms"] = "600000"
    os.environ["RAY_num_workers_soft_limit"] = "16"
    node = {"num_cpus": 3, "object_store_memory": 100 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.checkpoint_config = CheckpointConfig(
        id_column="path", checkpoint_path=checkpoint, delete_checkpoint_on_success=False
    )
    for chosen in ("a*", "*"):
        paths = sorted(str(path) for path in Path(photos).rglob(chosen) if path.is_file())
        files = ray.data.read_binary_files(paths, include_paths=True, override_num_blocks=2)
        done = files.map_batches(
            FaceBatch,
            fn_constructor_kwargs={"root": photos, "timeout": 5.0, "start": start},
            batch_size=4,
            num_cpus=1,
            compute=ActorPoolStrategy(min_size=2, max_size=2),
        )
        done.write_parquet(rows)
    sys.stdout.write(f"{sum(node['Alive'] for node in ray.nodes())} nodes\n")
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
