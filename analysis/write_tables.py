"""Tables of text cells as Markdown, LaTeX and CSV, written the same way by every script."""

import csv
import pathlib

_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$", "–": "--", "α": r"$\alpha$",
          "<": "$<$", ">": "$>$"}


def to_markdown(header, rows):
    """Padded so that it also reads as plain text; a cell's own bars and line breaks are escaped."""
    header, *rows = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells):
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |"

    return "\n".join([line(header), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)]) + "\n"


def to_latex(header, rows, columns=None):
    """A tabular; `columns` as LaTeX wants it, else the first column left and the others right."""
    def line(cells):
        return " & ".join("".join(_LATEX.get(letter, letter) for letter in str(cell)) for cell in cells) + r" \\"

    columns = columns or "l" + "r" * (len(header) - 1)
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\hline", line(header), r"\hline", *map(line, rows), r"\hline", r"\end{tabular}"]) + "\n"


def write_all(output, header, rows, records, columns=None, note=""):
    """OUTPUT.md and OUTPUT.tex from the cells, OUTPUT.csv from `records` (dicts, full precision); returns the Markdown.

    `note` is a paragraph below the Markdown table and a comment in the LaTeX.
    """
    pathlib.Path(output).parent.mkdir(parents=True, exist_ok=True)
    markdown = to_markdown(header, rows) + (f"\n{note}\n" if note else "")
    pathlib.Path(f"{output}.md").write_text(markdown, encoding="utf-8")
    comment = "".join(f"% {line}\n" for line in note.splitlines())
    pathlib.Path(f"{output}.tex").write_text(comment + to_latex(header, rows, columns), encoding="utf-8")
    with open(f"{output}.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(records[0]) if records else header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    return markdown


def percent(share, digits=1):
    """50.0 for 0.5; a dash for NaN."""
    return "–" if share is None or share != share else f"{100 * share:.{digits}f}"


def signed_points(share, digits=1):
    """+1.2 for a difference of 0.012, in percentage points."""
    return "–" if share is None or share != share else f"{100 * share:+.{digits}f}"


def p_text(p):
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
