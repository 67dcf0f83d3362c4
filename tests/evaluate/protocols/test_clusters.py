"""What the prototypes have learned, against scikit-learn and against clusters that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn import metrics

from swav_ray.evaluate.protocols.clusters import against_labels, duplicates, run, train_mode_clusters, usage
from swav_ray.weights.head import Head, head_of, heads_of
from tests.evaluate.protocols.given import backbone, given, split


def head(prototypes: list[list[float]]) -> Head:
    return Head(torch.nn.Identity(), torch.tensor(prototypes)).eval()


def test_clusters_that_are_classes_agree_completely_whatever_their_numbers() -> None:
    labels = np.repeat([0, 1, 2], 20)
    found = against_labels(np.array([7, 2, 5])[labels], labels)
    assert [found[name].value for name in ("NMI", "ARI", "purity", "one-to-one accuracy")] == [1.0, 1.0, 100.0, 100.0]


def test_many_clusters_a_class_are_pure_and_map_one_to_one_badly() -> None:
    labels = np.repeat([0, 1], 30)
    assigned = np.arange(60) // 10  # three clusters a class
    found = against_labels(assigned, labels)
    assert found["purity"].value == 100
    assert found["one-to-one accuracy"].value == pytest.approx(100 * 20 / 60)
    assert found["NMI"].value == pytest.approx(metrics.normalized_mutual_info_score(labels, assigned))


def test_empty_and_duplicate_prototypes_are_counted() -> None:
    made = head([[1.0, 0.0], [2.0, 0.01], [0.0, 1.0], [-1.0, 0.0]])
    assert duplicates(made) == {1: 0}
    figures = usage(np.array([0, 0, 2, 2]), made)
    assert figures["empty prototypes"].value == 2
    assert figures["duplicate prototypes"].value == 1
    assert figures["usage entropy, of the largest"].value == pytest.approx(np.log(2) / np.log(4))


def test_intervals_hold_their_figures_however_many_clusters_there_are() -> None:
    generator = np.random.default_rng(0)
    labels, assigned = generator.integers(0, 10, 1000), generator.integers(0, 300, 1000)
    for name, figure in against_labels(assigned, labels).items():
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low < figure.value < figure.high, name
        assert figure.high - figure.low < 10, name


def test_the_protocol_runs_with_and_without_labels_and_leaves_the_network_as_it_was() -> None:
    made = given()
    before = {name: value.clone() for name, value in made.backbone.state_dict().items()}
    with_labels = run(made)
    assert next(iter(with_labels.figures)) == "NMI"
    assert all(torch.equal(value, before[name]) for name, value in made.backbone.state_dict().items())
    assert not any(module.training for module in made.backbone.modules())
    val = split(200, 2)
    without = run(replace(made, val=replace(val, labels=np.full(200, -1))))
    assert "NMI" not in without.figures
    assert without.figures.keys() == with_labels.figures.keys() - {"NMI", "ARI", "purity", "one-to-one accuracy"}
    assert without.picture.startswith(b"\x89PNG")


def test_each_head_has_figures_of_its_own() -> None:
    made = given()
    several = replace(made, backbone=backbone(prototypes=(5, 3)))
    figures = run(several).figures
    first = [name for name in figures if "head" not in name]
    assert len(first) == 9
    assert [name for name in figures if name.endswith(", head 2")] == [f"{name}, head 2" for name in first]
    vectors = heads_of(several.backbone.origin.parts.head, "x")[1].embeddings(torch.from_numpy(made.val.features))
    second = heads_of(several.backbone.origin.parts.head, "x")[1].scores(vectors).argmax(dim=1).numpy()
    assert figures["NMI, head 2"] == against_labels(second, made.val.labels)["NMI"]
    assert figures["empty prototypes, head 2"].value == 3 - len(np.unique(second))


def test_train_mode_changes_nothing_where_the_batch_has_the_running_statistics() -> None:
    """Eval and train mode are the same network if BatchNorm knows the very batch, and far apart if it lags behind."""
    made = given()
    crops = made.crops(np.arange(200))
    network = made.backbone
    head_ = head_of(network.origin.parts.head, "x")
    pixels = torch.stack([network.preprocess(crop) for crop in crops[:200]])
    whole = torch.nn.Sequential(network, head_)
    for module in whole.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        for _ in range(25):  # a layer's statistics settle once those before it have
            whole.train()
            whole(pixels)
        whole.eval()
        features = network(pixels).numpy()
        assigned = whole(pixels).argmax(dim=1).numpy()
    val = replace(split(200, 2), features=features)
    (in_train_mode,) = train_mode_clusters(replace(made, val=val, crops=lambda ids: crops[ids]), [head_])
    assert (in_train_mode == assigned).mean() >= 0.97
    for module in whole.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean += 3 * torch.randn(len(module.running_mean), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assigned = whole(pixels).argmax(dim=1).numpy()
    (in_train_mode,) = train_mode_clusters(replace(made, val=val, crops=lambda ids: crops[ids]), [head_])
    assert (in_train_mode == assigned).mean() < 0.6
