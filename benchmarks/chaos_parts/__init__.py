"""The parts of `benchmarks/chaos.py`: what happens when, the cluster, the job, the storage, the verdict."""
