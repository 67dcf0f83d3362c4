"""sweep.html: one page about a sweep that needs no other file, and its pictures as PNGs beside it."""

from __future__ import annotations

import base64
import html

from swav_ray.report.sweep.plots import LEAST, pictures
from swav_ray.report.sweep.record import FIGURES, MEANINGS, SweepRecord, TrialRecord, shown
from swav_ray.run.layout import SWEEP_PAGE
from swav_ray.storage.place import Place


def write_report(sweep: SweepRecord, sweep_dir: Place) -> None:
    """Writes sweep.html, with its pictures inside it, and the same pictures as PNGs beside it."""
    drawn = pictures(sweep)
    for name, (data, _) in drawn.items():
        (sweep_dir / f"{name}.png").write_bytes(data)
    missing = f"No picture of the parameters' importance: it needs {LEAST} trials measured after the same epoch."
    note = "" if "sweep_importance" in drawn else missing
    (sweep_dir / SWEEP_PAGE).write_bytes(_page(sweep, drawn, note).encode())


def _page(sweep: SweepRecord, drawn: dict[str, tuple[bytes, str]], note: str) -> str:
    names = sweep.search["objective"] + [name for name in ("images",) if name not in sweep.search["objective"]]
    head = ["trial", *sweep.parameters, *(FIGURES[name][1] for name in names), "epochs", "minutes", "how it ended"]
    ranked = sweep.ranked()
    rest = [trial for trial in sweep.trials if trial not in ranked]
    rows = "".join(_row(trial, sweep, names) for trial in [*ranked, *rest])
    figures = "".join(
        f'<figure><img alt="{html.escape(text)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'
        f"<figcaption>{html.escape(text)}</figcaption></figure>"
        for data, text in drawn.values()
    )
    summary = "".join(f"<li>{html.escape(line)}</li>" for line in sweep.summary_lines())
    how = ", ".join(
        f"{key.replace('_', ' ')} {shown(sweep.search[key])}"
        for key in ("searcher", "scheduler", "num_samples", "grace_epochs", "seed")
    )
    space = "".join(f"<li><code>{html.escape(f'{k}: {v}')}</code></li>" for k, v in sweep.search["space"].items())
    best = f"""<p>best.yaml, beside this file, is the best finished trial's config: <code>python -m swav_ray.pretrain
--config best.yaml</code>. It was chosen by its last measurement on the held-out images: report its quality on others.
{html.escape(sweep.caveat)}</p>"""
    if sweep.best is None:
        best = "<p>No trial has finished, so there is no best.yaml.</p>"
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>sweep {html.escape(sweep.name)}</title>
<style>body{{font:15px/1.45 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}}
table{{border-collapse:collapse;font-size:13px}}td,th{{padding:3px 9px;text-align:right;border-bottom:1px solid #ddd}}
td:last-child,th:last-child,td:first-child,th:first-child{{text-align:left}}tr.best{{background:#e6f4e6}}
tr.collapsed,tr.failed{{color:#a33}}tr.stopped{{color:#777}}figure{{margin:2em 0}}img{{max-width:100%}}
figcaption{{color:#555}}.wide{{overflow-x:auto}}</style></head><body>
<h1>Sweep {html.escape(sweep.name)}</h1><ul>{summary}</ul><p>{html.escape(how)}</p><ul>{space}</ul>
{best}
{figures}<p>{html.escape(note)}</p>
<h2>Trials</h2><div class="wide"><table><tr>{"".join(f"<th>{html.escape(h)}</th>" for h in head)}</tr>{rows}
</table></div></body></html>"""


def _row(trial: TrialRecord, sweep: SweepRecord, names: list[str]) -> str:
    best = " best" if trial == sweep.best else ""
    figures = [shown(trial.at_end(name)) if trial.counts or name == "images" else "-" for name in names]
    epochs = f"{trial.rows[-1]['epochs']:g}" if trial.rows else "0"
    how = MEANINGS.get(trial.state, trial.state) + (f": {trial.reason}" if trial.reason else "")
    if trial.generations > 1:
        how += f"; {trial.generations - 1} times from a copied checkpoint"
    name = f"{trial.name} (recipe)" if trial == sweep.of_recipe else trial.name
    cells = [name, *(shown(trial.values.get(name)) for name in sweep.parameters), *figures, epochs]
    cells += [f"{trial.seconds / 60:.1f}", how]
    return f'<tr class="{trial.state}{best}">' + "".join(f"<td>{html.escape(str(c))}</td>" for c in cells) + "</tr>"
