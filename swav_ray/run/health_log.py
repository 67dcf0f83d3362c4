"""health.jsonl of a run directory: what the health monitor saw, a line for every tenth step and for epochs' ends.

A line has `step` and `epoch` (both from 0), `word` (one of `WORDS`), `why` (a sentence; '' while there is no alarm),
`sound` (whether nothing speaks against the state: what a remedy may go back to), and figures. Those that a step does
not have are missing. `loss` is null if the step was refused.

| figure | of | means |
|---|---|---|
| loss, lr | the step | as in metrics.jsonl |
| ln_k | the run | the loss of a run that learns nothing |
| codes_entropy | the step | mean entropy of the codes in nats: what the loss cannot fall below |
| left_to_learn | the step | loss less codes_entropy: the divergence of predictions from codes |
| code_agreement | the step | how often two crops of an image get the same code, beyond chance: 0 to 1 |
| spread | the step | standard deviation of the embeddings over its largest: 0 one point, 1 all directions |
| effective_rank | the step | dimensions that the embeddings fill, 1 to model.output_dim |
| usage | recent steps | perplexity of the nearest prototype over the most that is possible: 1 all are used alike |
| gradient_trunk, gradient_head, gradient_prototypes | the step | norms, before LARC rescales them |
| codes_usage | the step | perplexity of the mean code over the most that is possible: 1 an equal partition |
| queue_filled | the step | embeddings in the queue |
| unused | an epoch | fraction of prototypes that are nearest to no embedding that was looked at |
| duplicates, near_duplicates | an epoch | fractions of prototypes that another equals, or nearly (cosine over 0.99) |
| drift | an epoch | how far prototypes turned since its start, mean of 1 - cosine |
| batchnorm_gap | an epoch | 1 - cosine of embeddings by running and by the batch's statistics |
| spike | a step | how far its loss was above the mean before, if that is far |
| queue_jump | once | mean loss after the queue took part, less that before |

Rank 0 sees its own slice of each batch, a random part of it. The loss, the gradients and the prototypes are those of
all workers.
"""

from __future__ import annotations

from swav_ray.run.layout import HEALTH
from swav_ray.run.line_file import Record, read_lines
from swav_ray.storage.place import Place

HEALTHY = "healthy"
WARMING_UP = "warming up"  # nothing is proven yet: prototypes are frozen, the rate rises, or too few steps are done
STUCK = "stuck"  # the loss stays at ln K
COLLAPSING = "collapsing"  # embeddings or prototypes become one
DIVERGING = "diverging"  # steps are refused, or the loss rises above ln K
STARVED = "starved"  # too many prototypes for the samples that batch and queue bring
WORDS = (HEALTHY, WARMING_UP, STUCK, COLLAPSING, DIVERGING, STARVED)
ALARMS = (STUCK, COLLAPSING, DIVERGING, STARVED)


def read_health(run_dir: Place) -> list[Record]:
    """The lines, in the order of steps; none if there is no file."""
    return read_lines(run_dir / HEALTH)
