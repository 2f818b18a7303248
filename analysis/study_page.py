"""One HTML page, readable without any other file, that shows a study's figures and tables with where they come from."""

import base64
import html
import pathlib

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.6em}h2{font-size:1.2em;margin-top:2em;border-bottom:1px solid #ccc}figure{margin:1em 0}img{max-width:100%}
figcaption,.note{color:#555;font-size:.9em}.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85em;margin:1em 0}
th,td{padding:.25em .7em;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}th{border-bottom:2px solid #888}
td{font-variant-numeric:tabular-nums}"""


def table_html(header, rows):
    head = "".join(f"<th>{html.escape(str(cell))}</th>" for cell in header)
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def figure_html(png, caption):
    data = base64.b64encode(pathlib.Path(png).read_bytes()).decode()
    return f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}"><figcaption>{html.escape(caption)}</figcaption></figure>'


def provenance_table(study):
    """(header, rows): what stamped every evaluation."""
    header = ["model", "version", "asked", "tasks", "seed", "configuration", "build", "date", "checkpoint", "folder"]
    rows = []
    for e in study.evaluations:
        osler = e.results["osler"]
        scores = study.scores[study.scores["folder"] == str(e.folder)]
        rows.append([e.series or "–", e.version.name, e.method + (f" {e.ablation}" if e.ablation else ""), ", ".join(e.tasks), scores["seed"].iloc[0],
                     str(osler.get("config_hash", ""))[:12], osler.get("build", ""), osler.get("started", ""), osler.get("checkpoint", ""), e.folder])
    return header, rows


def write_page(path, title, sections):
    """sections: [(heading, [HTML pieces])]; those without a piece are left out."""
    parts = [f"<h2>{html.escape(heading)}</h2>\n" + "\n".join(pieces) for heading, pieces in sections if pieces]
    text = (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n" + "\n".join(parts) + "\n</body></html>\n")
    path = pathlib.Path(path)
    path.write_text(text, encoding="utf-8")
    return path


def note_html(text):
    return f'<p class="note">{html.escape(text)}</p>'


def list_html(lines):
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"
