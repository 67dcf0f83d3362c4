"""The parts of `benchmarks.pipeline`: what is measured of the machine, and who takes turns on it."""
