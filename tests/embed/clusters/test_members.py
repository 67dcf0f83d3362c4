"""Clusters are counted whole, their best and least sure images kept, and twins among prototypes are one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from swav_ray.embed.clusters.members import collect, table_of, twins
from swav_ray.embed.neighbours.nearest import unit

PROTOTYPES = unit(np.array([[1, 0], [0, 1], [1, 0.02], [-1, 0], [0.7, 0.7]]))


def blocks() -> list[pa.Table]:
    """Image i of cluster i % 4 (of which 2 is a twin of 0), ever farther from its prototype and ever surer."""
    ids = np.arange(40)
    whole = pa.table(
        {
            "sample_id": ids,
            "uri": [f"/x/{i}.jpg" for i in ids],
            "cluster": pa.array(ids % 4, pa.int32()),
            "probability": pa.array(0.5 + ids / 100, pa.float32()),
            "distance": pa.array(ids / 40, pa.float32()),
        }
    )
    return [whole.slice(20), whole.slice(0, 7), whole.slice(7, 13)]


def test_twins_are_prototypes_nearly_the_same_as_a_lower_one() -> None:
    assert twins(PROTOTYPES) == {2: 0}
    assert twins(unit(np.ones((3, 4)))) == {1: 0, 2: 0}


def test_clusters_come_largest_first_with_their_nearest_and_least_sure_images() -> None:
    found = collect(iter(blocks()), PROTOTYPES, most=3, borderline=5)
    assert [(cluster.number, cluster.images) for cluster in found.found] == [(0, 20), (1, 10), (3, 10)]
    assert found.sizes.tolist() == [10, 10, 10, 10, 0]
    assert (found.empty, found.merged) == (1, {2: 0})
    first = found.found[0]
    assert [member.sample_id for member in first.nearest] == [0, 2, 4]
    assert [member.sample_id for member in first.borderline] == [6, 8]  # of 0, 2, 4, 6, 8, three are shown already
    assert first.nearest[1].uri == "/x/2.jpg"


def test_the_table_of_prototypes_has_a_row_for_each() -> None:
    rows = table_of(collect(iter(blocks()), PROTOTYPES, most=3, borderline=2)).to_pylist()
    assert [row["images"] for row in rows] == [10, 10, 10, 10, 0]
    assert [row["merged_into"] for row in rows] == [0, 1, 0, 3, 4]
    assert np.allclose([row["prototype"] for row in rows], PROTOTYPES)
