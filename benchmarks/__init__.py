"""Measurements. Each is started from the repository's root with `python -m benchmarks.NAME`.

Each prints one JSON line with its figure and the baseline's, measured in the same run. Nothing here imports tests.
"""
