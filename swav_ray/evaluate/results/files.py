"""Results as people and programs read them: `results.json`, and a table with the published figure beside ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rich.table import Table

from swav_ray.evaluate.errors import EvaluationError
from swav_ray.evaluate.results.protocol import Result, paired_draws_test, paired_test
from swav_ray.run.layout import RESULTS
from swav_ray.storage.place import Place

PICTURE = "picture.png"


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


def is_of(document: dict[str, object], result: Result) -> bool:
    """Whether a finished evaluation is of the same protocol, weights and images as this one."""
    asked = json.loads(json.dumps(result.document()))
    names = ("protocol", "hash", "weights", "train", "val", "preprocessing")
    return all(document.get(name) == asked[name] for name in names)


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
        shown.add_column("published weights", justify="right")
    for name, figure in result.figures.items():
        row = [name, figure.text()]
        if published:
            row.append("-" if figure.published is None else f"{figure.published:g}%")
        shown.add_row(*row)
    return shown


def comparison(names: Sequence[str], found: Sequence[Mapping[str, Result]]) -> Table:
    """Several backbones side by side, a column each.

    The figure that a protocol compares by comes with the chance of such a difference from the first backbone by luck,
    if both were judged on the same images.

    Args:
        names: of the backbones. found: their results by protocol; what one lacks shows as `-`.
    """
    shown = Table(title="side by side; p: chance of such a difference from the first by luck (paired test over images)")
    shown.add_column("protocol, figure")
    for name in names:
        shown.add_column(name, justify="right")
    rows = dict.fromkeys(
        (protocol, figure) for results in found for protocol in results for figure in results[protocol].figures
    )
    for protocol, figure in rows:
        first = found[0].get(protocol)
        cells = []
        for results in found:
            result = results.get(protocol)
            value = result.figures.get(figure) if result else None
            cells.append("-" if value is None else value.text() + _by_luck(first, result, figure))
        shown.add_row(f"{protocol}, {figure}", *cells)
    return shown


def _by_luck(first: Result | None, other: Result | None, figure: str) -> str:
    """The paired test, if there is one for this figure."""
    if first is None or other is None or first is other or figure != next(iter(first.figures)):
        return ""
    counted = bool(first.correct and other.correct)
    if not counted and not (first.draws and other.draws):
        return ""
    if (first.val["place"], first.val["fingerprint"]) != (other.val["place"], other.val["fingerprint"]):
        return " (other images)"
    # Counted right and wrong have an exact test (McNemar's); a mean precision has the draws'.
    chance = paired_test(first.correct, other.correct)[1] if counted else paired_draws_test(first, other)
    return f" (p {chance:.2g})" if chance >= 0.001 else " (p < 0.001)"
