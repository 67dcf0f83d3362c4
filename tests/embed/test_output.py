"""A folder of embeddings is of one checkpoint and one set of images; anything else is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from swav_ray.data.manifest import build
from swav_ray.embed import output as outputs
from swav_ray.embed.errors import EmbedError
from swav_ray.storage.place import place
from tests.data.images import image, write_files
from tests.embed.small import begin, embed, embedded, images, network_and_how, weights


def test_what_is_read_back_is_what_was_begun(tmp_path: Path) -> None:
    output, _ = embedded(tmp_path)
    assert outputs.read(output.folder) == output
    assert output.missing() == []


def test_a_row_group_of_the_list_of_images_is_a_part(tmp_path: Path) -> None:
    output, _ = embedded(tmp_path)
    whole = build(output.root)
    assert [len(output.manifest(part)) for part in range(3)] == [16, 16, 9]
    assert output.manifest(1).table["uri"].to_pylist() == whole.table["uri"].to_pylist()[16:32]


def test_long_embeddings_come_in_smaller_parts() -> None:
    _, how = network_and_how(weights(Path("/tmp")), shape=(2048, 7, 7), dtype="float16")
    assert how.part_rows == 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("checkpoint", "holds embeddings of another checkpoint"),
        ("layer", "holds embeddings made in another way: layer pooled, not projection"),
        ("size", "holds embeddings made in another way: image_size 16, not 24"),
        ("place", "holds embeddings of other images"),
        ("images", r"has changed since it was embedded \(41 images, now 42\)"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path: Path, change: str, message: str) -> None:
    output, _ = embedded(tmp_path)
    data = tmp_path / "images"
    file, layer, size = weights(tmp_path), "pooled", 16
    if change == "checkpoint":
        file = weights(tmp_path, (5,))
    elif change == "layer":
        layer = "projection"
    elif change == "size":
        size = 24
    elif change == "place":
        data = images(tmp_path / "others")
    else:
        write_files(data, {"train/a/new.jpg": image(99)})
    _, how = network_and_how(file, layer=layer, image_size=size)
    with pytest.raises(EmbedError, match=message):
        begin(output.folder.local_path, how, data)


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path / "out", {"thesis.txt": b"x"})
    _, how = network_and_how(weights(tmp_path))
    with pytest.raises(EmbedError, match="holds other files; give an empty folder"):
        begin(tmp_path / "out", how, images(tmp_path / "images"))
    with pytest.raises(EmbedError, match="holds no embeddings; make some"):
        outputs.read(place(tmp_path / "out"))


def test_embeddings_below_their_own_images_are_no_images(tmp_path: Path) -> None:
    data = images(tmp_path / "images", 20)
    network, how = network_and_how(weights(tmp_path))
    output = begin(data / "out", how, data)
    embed(output, network)
    assert begin(data / "out", how, data).images == 20
