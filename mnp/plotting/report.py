"""report.html: a run on one page that needs no network: what was run, its table, its figures, its sizes."""

import html
import io
import re
from string import Template

import matplotlib

from mnp.experiments.results import against_control, describe_round, format_data, table_cells
from mnp.experiments.sizes import layer_sizes

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
body:has(.runs) { max-width: 120rem }
.runs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 36rem), 1fr)); gap: 2rem }
section { min-width: 0 }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
.words { text-align: left }
.key { position: sticky; left: 0; background: var(--paper) }
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


KEYS, WORDS = ("operation", "layer", "run"), ("recipe", "data")  # columns of words


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
    several = len(runs) > 1
    body = "".join(f"<section>\n{_section(run, several)}\n</section>\n" for run in runs)
    if several:
        body = f'<h2>The runs</h2>\n{_table(runs_table(runs))}\n<div class="runs">\n{body}</div>'
    return PAGE.substitute(title=html.escape(title), body=body)


def _section(run, several):
    summary, folder = run["summary"], run["folder"]
    recipe, seeds = summary["recipe"], summary.get("seeds", [summary["recipe"]["seed"]])
    facts = {
        "recipe": f"{recipe['name']}: {recipe['about']}" if recipe.get("about") else recipe["name"],
        "data": _data(summary.get("data")),
        "seed" if len(seeds) == 1 else "seeds": ", ".join(map(str, seeds)),
        "backend": f"{summary['kernels']}; threads: {_words(summary.get('threads', {}))}",
        "versions": _words(summary["versions"]),
        "processor": next((str(value) for value in summary.get("cpu", {}).values() if value), ""),
        "repeat": run["command"],
    }
    heading = "h3" if several else "h2"
    parts = [f"<h2>{html.escape(str(folder))}</h2>"] if several else []
    parts += [_list(facts), f"<{heading}>Rounds</{heading}>"]
    parts.append(_table(table_cells(summary.get("aggregate", summary["rows"]))))
    control = control_table(summary["rows"])
    if len(control) > 1:
        parts.append(f"<{heading}>Against the network trained as long with nothing removed</{heading}>")
        parts.append(_table(control))
    for name, figure in run["figures"].items():
        parts.append(f'<div class="wide" role="img" aria-label="{html.escape(name)}">\n{svg(figure)}</div>')
    sizes = layer_sizes(folder / f"seed-{seeds[0]}" if "seeds" in summary else folder, summary)
    if len(sizes) > 1:
        parts.append(f"<{heading}>Layers, of the first network and of the smallest</{heading}>")
        parts.append(_table(sizes))
    return "\n".join(parts)


def runs_table(runs):
    """Rows of text, the first the header: of each run its first network and its smallest."""
    sizes = ("parameters", "left", "multiply-adds", "left")
    table = [("run", "recipe", "data", *sizes, "error", "of the smallest")]
    for run in runs:
        summary, recipe = run["summary"], run["summary"]["recipe"]
        rows = summary.get("aggregate", summary["rows"])
        both = rows[0], min(rows, key=lambda row: row["nonzero"])
        counts = (f"{row[name]:,.0f}" for name in ("nonzero", "macs") for row in both)
        errors = (f"{row['error_mean' if 'error_mean' in row else 'error']:.2f} %" for row in both)
        words = str(run["folder"]), recipe["name"], recipe["data"].get("name", "lfw")
        table.append((*words, *counts, *errors))
    return table


def control_table(rows):
    """What `against_control` finds, as rows of text, the first the header; only that if there is nothing."""
    table = [("round", "operation", "parameters", "error", "control", "difference", "from", "to")]
    for line in against_control(rows):
        size, numbers = f"{line['nonzero']:,.0f}", (f"{line[name]:.2f} %" for name in ("error", "control"))
        changes = (line[name] for name in ("change", "change_low", "change_high"))
        changes = ("" if change is None else f"{change:+.2f}" for change in changes)
        table.append((str(line["step"]), describe_round(line), size, *numbers, *changes))
    several = any(row[-1] for row in table[1:])  # seeds: only then is there an interval
    return table if several else [row[:-2] for row in table]


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
    """An HTML table; the first row is the header. The columns of KEYS stay in sight when it is scrolled."""
    header, *rows = cells
    classes = [
        ' class="words key"' if name in KEYS else ' class="words"' if name in WORDS else "" for name in header
    ]
    lines = []
    for row, tag in [(header, "th"), *((row, "td") for row in rows)]:
        line = (f"<{tag}{c}>{html.escape(text)}</{tag}>" for text, c in zip(row, classes, strict=True))
        lines.append(f"<tr>{''.join(line)}</tr>")
    return f'<div class="wide"><table>\n{chr(10).join(lines)}\n</table></div>'


def svg(figure):
    """A figure as SVG text in the colours of the page: black is its ink, white its paper."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "mnp"}):  # the same ids for the same figure
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    head, drawn = text.getvalue().partition("<svg")[2].split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)  # as wide as the page; viewBox keeps the shape
    return "<svg" + head + ">" + drawn.replace("#000000", "var(--ink)").replace("#ffffff", "var(--paper)")
