"""`python -m swav_ray`: the commands, a line each."""

from __future__ import annotations

import sys
from collections.abc import Sequence

COMMANDS = {
    "python -m swav_ray.pretrain": "train a recipe; without arguments: quickstart",
    "python -m swav_ray.data": "index images, import them to Parquet shards, check them, preview their crops",
    "python -m swav_ray.evaluate": "judge a backbone by a protocol of the field",
    "python -m swav_ray.inspect": "what a file of weights holds, how far it was trained, and what to do with it",
    "python -m swav_ray.embed": "embeddings and clusters of a whole bucket, search and folders",
    "python -m swav_ray.export": "write a backbone for torchvision, timm, ONNX and others, verified",
    "python -m swav_ray.replay": "run a refused step again: the first tensor that is not finite",
    "python -m swav_ray.report": "one page about a run, or several side by side",
    "python -m swav_ray.watch": "the live panel of a run anywhere, from its storage",
    "python -m swav_ray.runs": "a table of all runs below a storage",
    "python -m swav_ray.plan": "hours and dollars of a run before they are spent",
    "python -m swav_ray.launch.spot_watcher": "drain the spot machine that it runs on before it is preempted",
    "python tune_spaces/NAME.py": "sweep over a search space",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the commands; 0, or 2 for an argument, which this takes none of."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] not in ("-h", "--help"):
        sys.stderr.write(f"swav_ray: {arguments[0]}: is not expected here; python -m swav_ray lists the commands\n")
        return 2
    for command, line in COMMANDS.items():
        sys.stdout.write(f"{command:39} {line}\n")
    sys.stdout.write("\nEach explains its arguments with --help.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
