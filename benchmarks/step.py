"""One training step, its crops on the device: images/s beside a plain loop, the bare backbone and the ceilings.

    python -m benchmarks.step --device cpu|cuda [--model resnet50] [--batch B] [--prototypes K] [--queue Q]
                              [--precision fp32|bf16] [--workers N] [--rounds R] [--memory] [--compile]

Prints a table of where the time goes (stderr) and one JSON line. In the same run, taking turns:

- ours: `Learner.step`, which is what training runs, with a full queue.
- plain: `step_parts/plain.py`, the step as the paper describes it, in the same precision; with --precision bf16 in
  float32 as well.
- backbone: the trunk alone on the same crops, forward and backward, in both layouts; the faster one counts.
- ceilings: a large matrix product and a copy beyond all caches.

Every figure is the least of its rounds (the first one warms up): what else the machine does can only add to it.
--workers N (above 1, CPU only) instead compares N gloo workers with as many that train alone, a thread each: what gloo
costs.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import torch

from benchmarks.step_parts import allocator
from benchmarks.step_parts.backbone import BareBackbone
from benchmarks.step_parts.ceilings import copy_bytes, matmul_flops, timed
from benchmarks.step_parts.contenders import builders
from benchmarks.step_parts.memory import peak_bytes
from benchmarks.step_parts.setup import config_of, random_crops
from benchmarks.step_parts.table import table
from benchmarks.step_parts.workers import gloo_cost
from swav_ray.config import Config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--model", default="resnet50", help="backbone (default %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="images a step, over all workers (default %(default)s)")
    parser.add_argument("--prototypes", type=int, default=3000, help="(default %(default)s)")
    parser.add_argument("--queue", type=int, default=3840, help="embeddings; 0: none (default %(default)s)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--workers", type=int, default=1, help="gloo processes of one thread (default %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU (default: all cores)")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each contender (default %(default)s)")
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help="these alone (default: all)")
    parser.add_argument("--memory", action="store_true", help="the peak of each contender too, in a process of its own")
    parser.add_argument("--compile", action="store_true", help="ours and the backbone by torch.compile too: minutes")
    parser.add_argument("--no-table", action="store_true", help="two profiled steps less")
    arguments = parser.parse_args()
    config = config_of(arguments.model, arguments.batch, arguments.prototypes, arguments.queue, arguments.precision)
    if arguments.workers > 1:
        print(json.dumps({"benchmark": "step_gloo", **gloo_cost(config, arguments.workers, arguments.rounds)}))
        return
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    result = compared(
        config,
        device,
        arguments.rounds,
        contenders=arguments.contenders,
        compiled=arguments.compile,
        memory=arguments.memory,
        tables=not arguments.no_table,
    )
    named = {name: getattr(arguments, name) for name in ("model", "batch", "prototypes", "queue", "precision")}
    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"{arguments.threads} CPU threads"
    print(json.dumps({"benchmark": "step", "device": machine, **named, **result}))


def compared(
    config: Config,
    device: torch.device,
    rounds: int,
    *,
    contenders: list[str] | None,
    compiled: bool,
    memory: bool,
    tables: bool,
) -> dict[str, Any]:
    """Seconds of every contender, and what follows from them."""
    every = builders(config, compiled=compiled)
    build = {name: step for name, step in every.items() if not contenders or name in contenders}
    work = {name: step(config, device) for name, step in build.items()}
    seconds = dict.fromkeys(work, float("inf"))
    for turn in range(rounds):
        for name, step in work.items():
            # The plain loop knows nothing of malloc; the bare backbone has all that helps.
            (allocator.by_default if name.startswith("plain") else allocator.keep)()
            seconds[name] = min(seconds[name], timed(device, step))
        print(f"round {turn}: {seconds}", file=sys.stderr, flush=True)
    for name in [name for name in ("ours", "plain") if name in work and tables]:
        print(f"{name}\n{table(work[name], device)}", file=sys.stderr)
    batch = config.train.global_batch_size
    result: dict[str, Any] = {
        "images_per_second": round(batch / seconds["ours"], 2),
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
    }
    if memory:
        result["peak_mb"] = {
            name: round(peak_bytes(device, step, config, device) / 1e6) for name, step in build.items()
        }
    complete = {"ours", "plain", "backbone_channels_last"} <= set(seconds)
    return result | derived(config, device, seconds, rounds) if complete else result


def derived(config: Config, device: torch.device, seconds: dict[str, float], rounds: int) -> dict[str, Any]:
    """Ratios to the baseline, the backbone and the ceilings."""
    dtype = torch.bfloat16 if config.train.precision == "bf16" else torch.float32
    ceiling = matmul_flops(device, dtype, rounds)
    backbone = min(value for name, value in seconds.items() if name.startswith("backbone"))
    bare = BareBackbone(config, device, channels_last=True)
    operations = bare.operations(bare.prepare(random_crops(config, device)))
    found = {"ratio_to_plain": round(seconds["plain"] / seconds["ours"], 3)}
    if "plain_fp32" in seconds:
        found["ratio_to_plain_fp32"] = round(seconds["plain_fp32"] / seconds["ours"], 3)
    return {
        **found,
        "over_backbone_percent": round(100 * (seconds["ours"] / backbone - 1), 1),
        "backbone_gflop": round(operations / 1e9, 1),
        "matmul_gflops": round(ceiling / 1e9),
        "copy_gb_per_second": round(copy_bytes(device, rounds) / 1e9, 1),
        "share_of_matmul_percent": round(100 * operations / seconds["ours"] / ceiling, 1),
    }


if __name__ == "__main__":
    main()
