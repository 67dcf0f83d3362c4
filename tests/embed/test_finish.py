"""What is made of whole embeddings: lists, a page that is bounded, near-duplicates, folders of images."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from swav_ray.embed import output as outputs
from swav_ray.embed.clusters import folders, page
from swav_ray.embed.errors import EmbedError
from swav_ray.embed.finish import Extras, finish, write_unreadable
from swav_ray.embed.network import Network
from swav_ray.embed.output import Output
from swav_ray.storage.place import place
from tests.data.images import image, write_parquet, write_tar
from tests.embed.small import begin, embed, embedded, images, network_and_how, table, weights


def finished(output: Output, network: Network, **extras: Any) -> list[str]:
    return list(finish(output, network, Extras(**extras), write_unreadable(output), lambda _: None))


def text_of(output: Output, name: str = "clusters.html") -> str:
    return (output.folder / name).read_bytes().decode()


def test_the_page_shows_every_cluster_with_its_images_and_needs_no_other_file(tmp_path: Path) -> None:
    output, network = embedded(tmp_path)
    lines = finished(output, network)
    used = len(set(table(output)["cluster"].to_pylist()))
    assert any(line.startswith(f"{used} clusters with images, {6 - used} empty") for line in lines)
    text = text_of(output)
    assert text.count("<h2>Cluster ") == used
    assert "images that cannot be read: 1, listed" in text
    assert "http" not in text.replace("http-equiv", "")
    (listed,) = csv.DictReader(io.StringIO(text_of(output, "unreadable.csv")))
    assert listed["uri"].endswith("broken.jpg")


def test_the_page_is_bounded_and_says_what_it_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, network = embedded(tmp_path)
    monkeypatch.setattr(page, "SHEETS", 1)
    finished(output, network, clusters="4")
    text = text_of(output)
    assert text.count("<h2>Cluster ") == 1
    assert text.count("<img") <= page.NEAREST + page.BORDERLINE + 2 * page.PAIRS
    assert "3 smaller clusters with" in text
    assert "4 clusters by spherical k-means" in text


def test_a_copy_of_an_image_is_found_and_only_it(tmp_path: Path) -> None:
    pixels = Image.open(io.BytesIO(image(3)))
    again = io.BytesIO()
    pixels.save(again, "JPEG", quality=95)
    data = images(tmp_path / "images", 20, {"train/b/copy.jpg": again.getvalue()})
    network, how = network_and_how(weights(tmp_path))
    output = begin(tmp_path / "out", how, data)
    embed(output, network)
    finished(output, network)
    (pair,) = csv.DictReader(io.StringIO(text_of(output, "duplicates.csv")))
    names = {row["sample_id"]: Path(row["uri"]).name for row in table(output).to_pylist()}
    assert {names[int(pair["first"])], names[int(pair["second"])]} == {"003.jpg", "copy.jpg"}
    assert "Pairs: 1;" in text_of(output)


def test_images_that_storage_did_not_deliver_are_said_to_be_tried_again(tmp_path: Path) -> None:
    network, how = network_and_how(weights(tmp_path))
    output = begin(tmp_path / "out", how, images(tmp_path / "images", broken={"train/a/broken.jpg": b""}))
    gone = tmp_path / "images" / "train" / "b" / "001.jpg"
    content = gone.read_bytes()
    gone.unlink()
    embed(output, network)
    told = "storage could not deliver some of these; the same command tries them again"
    first, second, *_ = finished(output, network)
    assert (first.partition(":")[0], second) == ("2 of 41 images cannot be read", told)
    gone.write_bytes(content)
    embed(output, network)
    assert told not in finished(output, network)


def test_no_readable_image_is_one_line(tmp_path: Path) -> None:
    data = images(tmp_path / "images", 0, {"a.jpg": b"", "b.jpg": b"no image"})
    network, how = network_and_how(weights(tmp_path))
    output = begin(tmp_path / "out", how, data)
    embed(output, network)
    with pytest.raises(EmbedError, match=r"none of its 2 images can be read; .*a\.jpg: "):
        write_unreadable(output)


@pytest.mark.parametrize("how", folders.HOW)
def test_images_go_into_a_folder_a_cluster_once_and_over_no_file(tmp_path: Path, how: str) -> None:
    output, network = embedded(tmp_path)
    dest = tmp_path / "sorted"
    lines = finished(output, network, into_folders=str(dest), how=how)
    assert lines[-1] == f"40 images into {dest}, 0 were there"
    rows = {row["sample_id"]: row for row in table(output).to_pylist()}
    found = [file for file in dest.rglob("*") if file.suffix == ".jpg"]
    assert len(found) == 40
    for file in found:
        row = rows[int(file.stem.rpartition("-")[2])]
        assert file.parent.name == f"cluster-{row['cluster']:04d}"
        assert file.read_bytes() == Path(row["uri"]).read_bytes()
        assert file.is_symlink() == (how == "symlink")
        assert (file.stat().st_ino == Path(row["uri"]).stat().st_ino) == (how != "copy")
    found[0].unlink()
    found[1].unlink()
    found[1].write_bytes(b"the user's own")
    assert finished(output, network, into_folders=str(dest), how=how)[-1] == f"1 images into {dest}, 39 were there"
    assert found[1].read_bytes() == b"the user's own"
    with pytest.raises(EmbedError, match=r"images by other clusters \(prototypes, not 3 by k-means\); give another"):
        finished(output, network, into_folders=str(dest), how=how, clusters="3")


@pytest.mark.parametrize("kind", ["shards", "tars"])
def test_images_inside_larger_files_are_copied_out_with_their_ending(tmp_path: Path, kind: str) -> None:
    data = tmp_path / "images"
    data.mkdir()
    if kind == "shards":
        write_parquet(data / "all.v1.parquet", 10)
    else:
        write_tar(data / "all.v1.tar", {f"{i}.jpg": image(i) for i in range(10)})
    network, how = network_and_how(weights(tmp_path))
    output = begin(tmp_path / "out", how, data)
    embed(output, network)
    with pytest.raises(EmbedError, match=r"--how link: the images .* are inside larger files; use --how copy"):
        finished(output, network, into_folders=str(tmp_path / "linked"))
    for made, there in ((10, 0), (0, 10)):
        lines = finished(output, network, into_folders=str(tmp_path / "copied"), how="copy")
        assert lines[-1] == f"{made} images into {tmp_path / 'copied'}, {there} were there"
    files = sorted((tmp_path / "copied").rglob("*.jpg"), key=lambda file: int(file.stem.rpartition("-")[2]))
    assert sorted(file.read_bytes() for file in files) == sorted(image(i) for i in range(10))


def test_folders_of_something_else_are_not_sorted_into(tmp_path: Path) -> None:
    output, network = embedded(tmp_path)
    other = tmp_path / "other"
    finished(output, network, into_folders=str(other))
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.txt").write_text("the user's own")
    again = begin(tmp_path / "again", network_and_how(weights(tmp_path))[1], tmp_path / "images")
    embed(again, network)
    for of, dest, told in (
        (output, "documents", "holds other files; give an empty folder"),
        (output, "out", "holds other files; give another folder"),
        (again, "other", rf"holds images by the embeddings in {output.folder}; give another folder"),
    ):
        with pytest.raises(EmbedError, match=rf"--into-folders .*/{dest}: {told}"):
            finished(of, network, into_folders=str(tmp_path / dest))


def test_images_are_not_put_among_the_images_themselves(tmp_path: Path) -> None:
    output, network = embedded(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "images")
    for dest in ("images", "images/sorted", "link/sorted"):
        with pytest.raises(EmbedError, match=r"lies among the images of .*, which the next command would find changed"):
            finished(output, network, into_folders=str(tmp_path / dest), how="copy")
    inside = begin(tmp_path / "images" / "out", output.how, tmp_path / "images")
    embed(inside, network)
    finished(inside, network, into_folders=str(inside.folder / "sorted"))
    assert begin(tmp_path / "images" / "out", output.how, tmp_path / "images") == inside


def test_an_image_lies_in_one_folder_though_clusters_are_learned_again(tmp_path: Path) -> None:
    output, network = embedded(tmp_path)
    dest = str(tmp_path / "sorted")
    for made, there in ((40, 0), (0, 40)):
        assert finished(output, network, into_folders=dest, clusters="3")[-1] == (
            f"{made} images into {dest}, {there} were there"
        )
    changed = output.clusters(3).read(0)
    column = changed.schema.get_field_index("cluster")
    moved = pa.array([(number + 1) % 3 for number in changed["cluster"].to_pylist()], pa.int32())
    output.clusters(3).write(0, changed.set_column(column, "cluster", moved))
    with pytest.raises(EmbedError, match="by an earlier 3 by k-means, which other embeddings have changed; give anoth"):
        finished(output, network, into_folders=dest, clusters="3")


@pytest.mark.parametrize("how", folders.HOW)
def test_images_that_are_gone_are_counted_and_put_there_once_they_are_back(tmp_path: Path, how: str) -> None:
    output, network = embedded(tmp_path)
    file = tmp_path / "images" / "train" / "a" / "000.jpg"
    data = file.read_bytes()
    file.unlink()
    dest = str(tmp_path / "sorted")
    *_, placed, gone = finished(output, network, into_folders=dest, how=how)
    assert placed == f"39 images into {dest}, 0 were there"
    assert gone.startswith(f"1 images could not be read again, for example {file}: ")
    assert not [link for link in (tmp_path / "sorted").rglob("*.jpg") if not link.exists()]
    file.write_bytes(data)
    assert finished(output, network, into_folders=dest, how=how)[-1] == f"1 images into {dest}, 39 were there"


def test_a_name_of_many_bytes_is_cut(tmp_path: Path) -> None:
    data = images(tmp_path / "images", 0, {f"{'鷹' * 80}{i}.jpg": image(i) for i in range(4)})
    network, how = network_and_how(weights(tmp_path))
    output = begin(tmp_path / "out", how, data)
    embed(output, network)
    for made, there in ((4, 0), (0, 4)):
        lines = finished(output, network, into_folders=str(tmp_path / "sorted"), how="copy")
        assert lines[-1] == f"{made} images into {tmp_path / 'sorted'}, {there} were there"


def test_what_the_embeddings_do_not_allow_is_said_before_any_work(tmp_path: Path) -> None:
    here = place(tmp_path / "images"), place(tmp_path / "out")
    _, how = network_and_how(weights(tmp_path), layer="map")
    with pytest.raises(EmbedError, match="--clusters: needs vectors; use --layer pooled or --layer projection"):
        Extras(clusters="5").check(how, *here)
    with pytest.raises(EmbedError, match="--how link: needs images and a folder on this machine's disks; use --how c"):
        Extras(into_folders="s3://bucket/sorted").check(how, *here)
    _, how = network_and_how(weights(tmp_path, head=False))
    with pytest.raises(EmbedError, match="these weights have no prototypes; give --clusters K"):
        Extras(into_folders="x").check(how, *here)


def test_without_prototypes_the_command_says_how_to_get_clusters(tmp_path: Path) -> None:
    network, how = network_and_how(weights(tmp_path, head=False))
    output = begin(tmp_path / "out", how, images(tmp_path / "images"))
    embed(output, network)
    assert finished(output, network)[-1].startswith("these weights have no prototypes: --clusters K")
    assert not (output.folder / outputs.PAGE).exists()
    assert "clusters by spherical k-means" in text_of_auto(output, network)


def text_of_auto(output: Output, network: Network) -> str:
    finished(output, network, clusters="auto")
    return text_of(output)


def test_a_linear_probe_in_ten_lines(tmp_path: Path) -> None:
    """Those of docs/embed.md."""
    output, _ = embedded(tmp_path)
    guide = (Path(__file__).parents[2] / "docs" / "embed.md").read_text()
    code = guide.partition("# A linear probe on the embeddings: as many lines as it needs.")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code.replace("/data/embeddings", output.folder.uri).replace('"test"', '"train"'), names)
    assert 0 <= names["accuracy"] <= 1
    assert len(code.splitlines()) <= 11
    assert place(output.folder.uri).exists()
