"""Parts of `benchmarks/step.py`."""
