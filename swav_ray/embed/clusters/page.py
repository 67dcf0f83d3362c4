"""clusters.html: a contact sheet of each cluster, in one file that needs no other."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from swav_ray.embed.clusters.members import SAME, Cluster, Clusters, Member
from swav_ray.embed.clusters.thumbnails import jpeg, thumbnails
from swav_ray.embed.neighbours.duplicates import MOST_COMPARED, Pair
from swav_ray.embed.output import Output

NEAREST, BORDERLINE = 16, 4  # images of a cluster on the page
SHEETS, PAIRS = 60, 24  # clusters, and pairs of near-duplicates, on the page
_SIDE = 72  # pixels of a thumbnail
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1180px;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.5rem;margin:0 0 .3rem}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}p,li{margin:.2rem 0}
.muted{color:#666;font-weight:400}.sheet{display:flex;flex-wrap:wrap;gap:4px}
.sheet img,.gone{width:72px;height:72px;border-radius:4px;display:block;background:#eee;border:2px solid transparent}
.gone{display:flex;align-items:center;justify-content:center;color:#888;font-size:11px}
.borderline img,.borderline .gone{border-color:#d97706}.gap{width:10px}
.bar{height:6px;background:#e5e7eb;border-radius:3px;max-width:420px;margin:.2rem 0 .5rem}
.bar div{height:6px;background:#4f6bed;border-radius:3px}.pair{display:flex;gap:2px;margin-right:12px}
details{margin:.3rem 0}code{font-size:.9em}
@media(prefers-color-scheme:dark){body{background:#16181d;color:#e6e6e6}.muted{color:#9aa0a6}.bar{background:#2b2f37}
.sheet img,.gone{background:#2b2f37}}
"""


@dataclass(frozen=True)
class Content:
    """What the page shows.

    Attributes:
        clusters: of the first head's prototypes, or by k-means.
        what: they are, in words. pairs: near-duplicates; None: not looked for.
        unreadable: images that could not be read. notes: further lines.
    """

    clusters: Clusters
    what: str
    pairs: Sequence[Pair] | None
    unreadable: int
    notes: Sequence[str]


def page(output: Output, content: Content) -> str:
    """The whole page; thumbnails are read from the place of the images."""
    shown = content.clusters.found[:SHEETS]
    pairs = list(content.pairs or [])[:PAIRS]
    wanted = {member.sample_id for cluster in shown for member in cluster.nearest + cluster.borderline}
    wanted |= {i for pair in pairs for i in (pair.first, pair.second)}
    pictures = thumbnails(output, wanted, _SIDE)
    title = f"{len(content.clusters.found):,} clusters of {output.root}"
    summary = "".join(f"<li>{html.escape(line)}</li>" for line in _summary(output, content))
    sheets = "".join(_sheet(cluster, content.clusters, output.images, pictures) for cluster in shown)
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body>
<h1>{html.escape(title)}</h1><ul>{summary}</ul>
<p class="muted">Each sheet: the images nearest to the centre first, then, framed in orange, those of the lowest
probability, which are the likeliest to be in the wrong cluster.</p>
{sheets}{_left_out(content.clusters)}{_duplicates(content, output.how.layer, pairs, pictures)}</body></html>
"""


def _summary(output: Output, content: Content) -> list[str]:
    clusters, how = content.clusters, output.how
    lines = [
        f"{output.images - content.unreadable:,} images, {content.what}",
        f"{clusters.empty:,} of {len(clusters.sizes):,} clusters are empty",
    ]
    if clusters.merged:
        twins = list(clusters.merged.items())
        some = ", ".join(f"{number} into {first}" for number, first in twins[:8])
        more = f" and {len(twins) - 8} more" if len(twins) > 8 else ""
        lines.append(f"prototypes with a cosine above {SAME} are shown as one: {some}{more}")
    else:
        lines.append(f"no two centres have a cosine above {SAME}")
    if content.unreadable:
        lines.append(f"images that cannot be read: {content.unreadable:,}, listed in unreadable.csv")
    lines.append(
        f"weights {how.checkpoint} (sha256 {how.weights[:12]}), images of {how.image_size} pixels, temperature "
        f"{how.temperature:g}"
    )
    return [*lines, *content.notes]


def _sheet(cluster: Cluster, clusters: Clusters, images: int, pictures: Mapping[int, np.ndarray]) -> str:
    share = 100 * cluster.images / images
    twins = [number for number, first in clusters.merged.items() if first == cluster.number]
    also = f", with {', '.join(map(str, twins))}" if twins else ""
    near = "".join(_picture(member, pictures) for member in cluster.nearest)
    weak = "".join(_picture(member, pictures) for member in cluster.borderline)
    aside = f'<div class="gap"></div><div class="sheet borderline">{weak}</div>' if weak else ""
    return (
        f"<h2>Cluster {cluster.number}{also} "
        f'<span class="muted">{cluster.images:,} images, {share:.1f}%</span></h2>'
        f'<div class="bar"><div style="width:{share:.2f}%"></div></div><div class="sheet">{near}{aside}</div>'
    )


def _picture(member: Member, pictures: Mapping[int, np.ndarray]) -> str:
    told = f"{member.uri}\ndistance {member.distance:.3f}, probability {member.probability:.2f}"
    return _image(member.sample_id, told, pictures)


def _image(sample_id: int, told: str, pictures: Mapping[int, np.ndarray]) -> str:
    text = html.escape(told, quote=True)
    if sample_id not in pictures:
        return f'<span class="gone" title="{text}">not there</span>'
    data = base64.b64encode(jpeg(pictures[sample_id])).decode()
    return f'<img alt="image {sample_id}" title="{text}" src="data:image/jpeg;base64,{data}">'


def _left_out(clusters: Clusters) -> str:
    rest = clusters.found[SHEETS:]
    if not rest:
        return ""
    images = sum(cluster.images for cluster in rest)
    return (
        f"<h2>Not shown</h2><p>{len(rest):,} smaller clusters with {images:,} images; "
        "<code>prototypes.parquet</code> has the sizes of all.</p>"
    )


def _duplicates(content: Content, layer: str, pairs: Sequence[Pair], pictures: Mapping[int, np.ndarray]) -> str:
    head = "<h2>Near-duplicate images</h2>"
    if content.pairs is None:
        why = "feature maps are not compared; use another --layer"
        if layer != "map":
            why = f"with more than {MOST_COMPARED:,} images, give --neighbours 10"
        return f"{head}<p>Not looked for: {why}.</p>"
    if not content.pairs:
        return f"{head}<p>None found.</p>"
    more = f", of which the {len(pairs)} most alike are shown" if len(content.pairs) > len(pairs) else ""
    shown = "".join(
        f'<div class="pair">{_image(pair.first, _told(pair, pair.first), pictures)}'
        f"{_image(pair.second, _told(pair, pair.second), pictures)}</div>"
        for pair in pairs
    )
    return (
        f"{head}<p>Pairs: {len(content.pairs):,}{more}; <code>duplicates.csv</code> has all.</p>"
        f'<div class="sheet">{shown}</div>'
    )


def _told(pair: Pair, sample_id: int) -> str:
    return f"sample {sample_id}\ncosine {pair.similarity:.4f}, pixels differ by {pair.difference:.1f} of 255"
