"""The parts of `benchmarks.chaos`: what happens when, the cluster, the job, the storage, the verdict."""
