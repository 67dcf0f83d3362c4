"""Results as people and programs read them: `results.json`, and a table with the published figure beside ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rich.table import Table

from swav_ray.evaluate.feature_store import EvaluationError
from swav_ray.evaluate.protocol import Protocol, Result, paired_test
from swav_ray.storage.place import Place

RESULTS = "results.json"


def write(folder: Place, result: Result) -> None:
    """Writes `results.json` of one protocol on one backbone."""
    (folder / RESULTS).write_bytes(json.dumps(result.document(), indent=1).encode())


def read(folder: Place) -> dict[str, object] | None:
    """The document of a finished evaluation; None if there is none.

    Raises:
        EvaluationError: the file there was not written by an evaluation.
    """
    try:
        found = json.loads((folder / RESULTS).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict) or "protocol" not in found or "hash" not in found:
        raise EvaluationError(f"{folder / RESULTS}: is no result of an evaluation; give another --out")
    return found


def is_of(document: dict[str, object], protocol: Protocol, weights: str, train: str, val: str) -> bool:
    """Whether a finished evaluation is the one that is asked for."""
    asked = (protocol.digest(), weights, train, val)
    return tuple(document[name] for name in ("hash", "weights", "train", "val")) == asked


def table(result: Result) -> Table:
    """Figures, their intervals, and the published one if there is one."""
    protocol = result.protocol
    shown = Table(
        title=f"{protocol.name} (version {protocol.version}, {protocol.digest()}): {result.backbone}",
        title_justify="left",
    )
    published = any(figure.published is not None for figure in result.figures.values())
    shown.add_column("figure")
    shown.add_column("value, 95% interval", justify="right")
    if published:
        shown.add_column("published weights, ImageNet", justify="right")
    for name, figure in result.figures.items():
        row = [name, figure.text()]
        if published:
            row.append("-" if figure.published is None else f"{figure.published:g}%")
        shown.add_row(*row)
    return shown


def comparison(names: Sequence[str], found: Sequence[Mapping[str, Result]]) -> Table:
    """Several backbones side by side, a column each, and whether each differs from the first by more than noise.

    Args:
        names: of the backbones. found: their results by protocol; a protocol that one lacks shows as `-`.
    """
    shown = Table(title="side by side; in brackets the chance of such a difference from the first by luck")
    shown.add_column("protocol, figure")
    for name in names:
        shown.add_column(name, justify="right")
    for protocol, first in found[0].items():
        for position, figure in enumerate(first.figures):
            cells = []
            for column, results in enumerate(found):
                result = results.get(protocol)
                if result is None or figure not in result.figures:
                    cells.append("-")
                    continue
                by_luck = _by_luck(first, result) if column and not position else ""
                cells.append(result.figures[figure].text() + by_luck)
            shown.add_row(f"{protocol}, {figure}", *cells)
    return shown


def _by_luck(first: Result, other: Result) -> str:
    """The paired test of the figure that a protocol compares by, if it counts images that both judged."""
    if first.val != other.val or not first.correct.keys() & other.correct.keys():
        return ""
    _, chance = paired_test(first.correct, other.correct)
    return f" (p {chance:.2g})" if chance >= 0.001 else " (p < 0.001)"
