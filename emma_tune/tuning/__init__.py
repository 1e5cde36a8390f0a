"""The only room that imports Ray: it starts or joins a cluster, and lets Tune run what a study's driver hands out.

What to run next, Optuna, and conclusions are in `search/`; this room knows workers, nodes and signals. What is not
Ray's public interface is in `ray_patches/`, which comes first.
"""

from emma_tune.tuning import ray_patches as ray_patches
