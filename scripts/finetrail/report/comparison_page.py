"""A page that shows images with their references and what several models wrote, in one file that needs nothing else."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: #1d2733; background: #f4f6f8; }
main { max-width: 75rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; margin: 0.5rem 0; }
article { background: #fff; border: 1px solid #d5dce3; border-radius: 6px; padding: 1rem; margin: 1rem 0;
  display: grid; gap: 1rem; grid-template-columns: minmax(0, 1fr); }
img { max-width: 100%; height: auto; border: 1px solid #d5dce3; }
figure { margin: 0; }
figcaption, .about { font-size: 0.85rem; color: #5a6775; overflow-wrap: anywhere; }
dl { margin: 0; display: grid; gap: 0.75rem; grid-template-columns: minmax(0, 1fr); }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; white-space: pre-wrap; }
.reference { border-left: 4px solid #2a7f4f; padding-left: 0.75rem; }
.model { border-left: 4px solid #2a6f97; padding-left: 0.75rem; }
@media (min-width: 50rem) {
  article { grid-template-columns: 20rem minmax(0, 1fr); }
  dl { grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); }
}
""".strip()


def comparison_page(title: str, notes: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Write the page; all texts are data, so that nothing in them is markup.

    Args:
        title: stands above.
        notes: what the reader should know.
        rows: ``image`` (a data URL), ``about`` (under the image), ``reference``, ``answers`` (model → text).
    """
    shown = "\n".join(_article(number, row) for number, row in enumerate(rows, start=1))
    told = "\n".join(f'<p class="about">{escape(note)}</p>' for note in notes)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{told}\n{shown}\n</main>\n</body>\n</html>\n"
    )


def _article(number: int, row: Mapping[str, Any]) -> str:
    answers = "\n".join(
        f'<div class="model"><dt>{escape(name)}</dt><dd>{escape(text) or "(nothing)"}</dd></div>'
        for name, text in row["answers"].items()
    )
    return (
        f'<article id="row{number}">\n<figure><img src="{escape(row["image"])}" alt="{escape(row["about"])}">'
        f"<figcaption>{escape(row['about'])}</figcaption></figure>\n<dl>\n"
        f'<div class="reference"><dt>reference</dt><dd>{escape(row["reference"])}</dd></div>\n'
        f"{answers}\n</dl>\n</article>"
    )
