"""report.html: a run on one page that needs no network: what was run, its table, its figures, its sizes."""

import html
import io
import re
from string import Template

import matplotlib
import numpy as np

from mnp.experiments.checkpoint import load_checkpoint, with_prefix
from mnp.experiments.registry import CHECKPOINTS
from mnp.experiments.results import format_data, table_cells

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1f24; --line: #d0d7de; --faint: #57606a }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181d; --ink: #e6e9ed; --line: #3a424c; --faint: #9aa4af }
}
body { margin: 0 auto; padding: 1rem; max-width: 76rem; background: var(--paper); color: var(--ink);
       font: 16px/1.5 system-ui, sans-serif }
h1, h2, h3 { line-height: 1.2 }
.runs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 36rem), 1fr)); gap: 2rem }
section { min-width: 0 }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
.words { text-align: left }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .2rem 1rem; margin: 1rem 0 }
dt { color: var(--faint) }
dd { margin: 0; overflow-wrap: anywhere }
svg { display: block; width: 100%; min-width: 34rem; max-width: 60rem; height: auto; margin-top: 1rem;
      fill: var(--ink) }
</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")


def make_report(title, runs):
    """The page of one run, or of several side by side.

    Parameters
    ----------
    title : str
    runs : list of dict
        summary: what summary.json holds; command: to repeat the run; folder: Path of it; figures: {file
        name: figure}, as `run_figures` gives them.

    Returns
    -------
    text : str
        HTML with its styles and SVG figures inside; light or dark as the reader's system is.
    """
    sections = [f"<section>\n{_section(run, len(runs) > 1)}\n</section>" for run in runs]
    body = f'<div class="runs">\n{"".join(sections)}\n</div>' if len(runs) > 1 else sections[0]
    return PAGE.substitute(title=html.escape(title), body=body)


def _section(run, several):
    summary, folder = run["summary"], run["folder"]
    recipe = summary["recipe"]
    heading = f"<h2>{html.escape(str(folder))}</h2>\n" if several else ""
    facts = {
        "recipe": f"{recipe['name']}: {recipe['about']}" if recipe.get("about") else recipe["name"],
        "data": _data(summary.get("data")),
        "seeds" if "seeds" in summary else "seed": ", ".join(
            map(str, summary.get("seeds", [recipe["seed"]]))
        ),
        "backend": f"{summary['kernels']}, {_words(summary.get('threads', {}))} threads",
        "versions": _words(summary["versions"]),
        "processor": next((str(value) for value in summary.get("cpu", {}).values() if value), ""),
        "repeat": run["command"],
    }
    parts = [heading + _list(facts)]
    rows = summary.get("aggregate", summary["rows"])
    parts.append("<h3>Rounds</h3>\n" + _table(table_cells(rows)))
    for name, figure in run["figures"].items():
        parts.append(f'<div class="wide" role="img" aria-label="{html.escape(name)}">\n{svg(figure)}</div>')
    sizes = layer_sizes(folder / f"seed-{summary['seeds'][0]}" if "seeds" in summary else folder)
    if len(sizes) > 1:
        parts.append("<h3>Parameters of each layer, first and last round</h3>\n" + _table(sizes))
    return "\n".join(parts)


def _data(facts):
    if isinstance(facts, dict) and "test_images" in facts:
        return format_data(facts).removeprefix("data: ")
    facts = facts[0] if isinstance(facts, list) and facts else facts  # of all folds
    return _words(facts) if isinstance(facts, dict) else "not recorded"


def _words(values):
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _list(facts):
    items = (f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(text))}</dd>" for name, text in facts.items())
    return f"<dl>\n{chr(10).join(items)}\n</dl>"


def _table(cells):
    """An HTML table; the first row is the header, columns of words are those of `operation` and `layer`."""
    header, *rows = cells
    words = [' class="words"' if name in ("operation", "layer") else "" for name in header]
    lines = []
    for row, tag in [(header, "th"), *((row, "td") for row in rows)]:
        line = (f"<{tag}{c}>{html.escape(text)}</{tag}>" for text, c in zip(row, words, strict=True))
        lines.append(f"<tr>{''.join(line)}</tr>")
    return f'<div class="wide"><table>\n{chr(10).join(lines)}\n</table></div>'


def layer_sizes(folder):
    """Rows (layer, parameters of the first round, of the last round, removed) of a run's checkpoints.

    Parameters that are masked out are not counted. Only a header if there are no checkpoints.
    """
    paths = sorted((folder / CHECKPOINTS).glob("[0-9]*.npz"))
    sizes = []
    for path in paths[:1] + paths[-1:]:
        arrays, of_layer = load_checkpoint(path)[0], {}
        state, masks = with_prefix(arrays, "state"), with_prefix(arrays, "masks")
        for name, array in state.items():
            layer, _, key = name.partition(".")
            if not key.startswith("running_"):  # statistics of batch normalisation are not parameters
                kept = int(np.count_nonzero(masks[name])) if name in masks else array.size
                of_layer[layer] = of_layer.get(layer, 0) + kept
        sizes.append(of_layer)
    rows = [("layer", "first", "last", "removed")]
    for layer, first in sizes[0].items() if sizes else ():
        last = sizes[-1].get(layer, 0)
        rows.append((layer, f"{first:,}", f"{last:,}", f"{100 * (first - last) / first:.1f} %"))
    return rows


def svg(figure):
    """A figure as SVG text in the colours of the page: black is its ink, white its paper."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "mnp"}):  # the same ids for the same figure
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    head, drawn = text.getvalue().partition("<svg")[2].split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)  # as wide as the page; viewBox keeps the shape
    return "<svg" + head + ">" + drawn.replace("#000000", "var(--ink)").replace("#ffffff", "var(--paper)")
