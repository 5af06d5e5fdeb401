"""A document of headings, paragraphs, tables and pictures, as one HTML file or as Markdown with pictures beside it."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import quote

from topomap.plot import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: CSS pixels per inch of a figure: on a screen letters of 7 points are too small to read.
_ON_SCREEN = 132

#: Quality of WebP with loss, the most colours of a picture that is stored without any, and its longest side.
_QUALITY, _FEW_COLORS, _WEBP_SIDE = 90, 1024, 16_383

_CSS = """
@page { margin: 16mm; }
html { color: #262626; background: #fff; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue",
  Arial, sans-serif; -webkit-text-size-adjust: 100%; }
body { max-width: 960px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; overflow-wrap: break-word; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 2.6rem 0 .6rem; padding-top: .7rem; border-top: 1px solid #dcdcdc; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p, ul { max-width: 46rem; margin: 0 0 .8rem; }
ul { padding-left: 1.2rem; }
li { margin-bottom: .35rem; }
p.lead { color: #555; font-size: 1.05rem; }
p.quiet, ul.quiet, figcaption { color: #555; font-size: .85rem; line-height: 1.45; }
figure { margin: 1.2rem 0 1.8rem; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { margin-top: .6rem; }
div.table { display: inline-block; max-width: 100%; overflow-x: auto; vertical-align: top;
  margin: .6rem 3rem 1.2rem 0; }
div.table p { margin-bottom: .5rem; }
table { border-collapse: collapse; font-size: .875rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .9rem .28rem 0; text-align: left; vertical-align: top; unicode-bidi: isolate; }
th { font-weight: 600; border-bottom: 1px solid #262626; vertical-align: bottom; }
td { border-bottom: 1px solid #ececec; }
th.n, td.n { text-align: right; white-space: nowrap; }
@media print {
  html { font-size: 11px; }
  body { max-width: none; padding: 0; }
  h2, h3, div.table p { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  figure img { max-height: 200mm; object-fit: contain; object-position: left top; }
  div.table { display: block; overflow: visible; margin-right: 0; }
}
""".strip()

#: What Markdown would take for its own: signs, underscores at the edge of a word, what opens a tag or an entity.
_SIGNS = re.compile(r"[\\`*\[\]|$~]|(?<!\w)_|_(?!\w)|<(?=[A-Za-z/!?])|&(?=#?\w+;)")

#: What neither format can hold.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Heading:
    """A heading; of level 1 is the title alone."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph: the ``"lead"`` below the title, ordinary, or ``"quiet"``."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Items:
    """Sentences as a list, ordinary or ``"quiet"``."""

    texts: Sequence[str]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the columns of `numbers` stand to the right, counted from 0."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure as PNG, its width in inches, what it shows in words, and its caption."""

    name: str
    png: bytes = field(repr=False)
    width: float
    alt: str
    caption: str


Block = Heading | Paragraph | Items | Table | Picture


def png_of(figure: Figure, dpi: float) -> bytes:
    """Return a figure as PNG, the same bytes for the same drawing, and close it."""
    import matplotlib.pyplot as plt

    file = BytesIO()
    try:
        with style.rc(dpi):
            figure.savefig(file, format="png", metadata={"Software": None})
    finally:
        plt.close(figure)
    return file.getvalue()


def to_html(blocks: Sequence[Block]) -> str:
    """Return one file that holds all: no scripts, nothing fetched, every text escaped.

    Examples
    --------
    >>> print(to_html([Heading("<b>", 1)]).splitlines()[-3])
    <h1>&lt;b&gt;</h1>
    """
    title = next((block.text for block in blocks if isinstance(block, Heading) and block.level == 1), "Report")
    # the policy forbids scripts and requests even if a text were to get past the escaping
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_html(title)}</title>",
        f"<style>\n{_CSS}\n</style>",
        "</head>",
        "<body>",
        *(_block_html(block) for block in blocks),
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def _block_html(block: Block) -> str:
    match block:
        case Heading():
            return f"<h{block.level}>{_html(block.text)}</h{block.level}>"
        case Paragraph():
            return f"<p{_class(block.kind)}>{_html(block.text)}</p>"
        case Items():
            items = (f"<li>{_html(text)}</li>" for text in block.texts)
            return "\n".join([f"<ul{_class(block.kind)}>", *items, "</ul>"])
        case Table():
            kinds = [_class("n" if i in block.numbers else "") for i in range(len(block.header))]
            head = "".join(f"<th{k}>{_html(cell)}</th>" for cell, k in zip(block.header, kinds, strict=True))
            body = [
                "<tr>" + "".join(f"<td{k}>{_html(c)}</td>" for c, k in zip(row, kinds, strict=True)) + "</tr>"
                for row in block.rows
            ]
            caption = [f'<p class="quiet">{_html(block.caption)}</p>'] if block.caption else []
            top = ["<thead>", f"<tr>{head}</tr>", "</thead>", "<tbody>"]
            lines = ['<div class="table">', *caption, "<table>", *top, *body, "</tbody>", "</table>", "</div>"]
            return "\n".join(lines)
        case Picture():
            side = round(block.width * _ON_SCREEN)
            image = f'<img width="{side}" alt="{_html(block.alt)}" src="{_data_of(block.png)}">'
            return "\n".join(["<figure>", image, f"<figcaption>{_html(block.caption)}</figcaption>", "</figure>"])


def to_markdown(blocks: Sequence[Block], folder: str) -> str:
    r"""Return GitHub's Markdown; pictures are looked for in a folder beside it.

    Examples
    --------
    >>> print(to_markdown([Heading("a|b", 1), Table(["x", "n"], [["_y_", "1"]], numbers=[1])], "files"))
    # a\|b
    <BLANKLINE>
    | x | n |
    | --- | --: |
    | \_y\_ | 1 |
    <BLANKLINE>
    """
    return "\n\n".join(_block_markdown(block, folder) for block in blocks) + "\n"


def _block_markdown(block: Block, folder: str) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {_markdown(block.text)}"
        case Paragraph():
            return _markdown(block.text)
        case Items():
            return "\n".join(f"- {_markdown(text)}" for text in block.texts)
        case Table():
            rule = ["--:" if i in block.numbers else "---" for i in range(len(block.header))]
            body = [[_markdown(cell) for cell in row] for row in block.rows]
            lines = [[_markdown(cell) for cell in block.header], rule, *body]
            table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
            return f"{_markdown(block.caption)}\n\n{table}" if block.caption else table
        case Picture():
            place = quote(f"{folder}/{block.name}.png")
            return f"![{_markdown(block.alt)}]({place})\n\n{_markdown(block.caption)}"


def _data_of(png: bytes) -> str:
    """Return a picture as a data URL of WebP: exactly where it has few colours, as curves have, else hardly changed.

    The smooth fields of maps make a PNG large. As WebP of quality 90 they take a seventh, and a colour is off by less
    than 1 of 255 in the mean. A palette would be as small, but merges the pale tints that say that there is no effect.
    """
    from PIL import Image

    file = BytesIO()
    with Image.open(BytesIO(png)) as picture:
        seen = picture.convert("RGB")
    kind = "webp"
    if max(seen.size) > _WEBP_SIDE:
        kind, file = "png", BytesIO(png)
    else:
        few = seen.getcolors(_FEW_COLORS) is not None
        seen.save(file, format="WEBP", lossless=few, quality=_QUALITY, method=4)
    return f"data:image/{kind};base64,{b64encode(file.getvalue()).decode('ascii')}"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _html(text: str) -> str:
    return escape(_CONTROL.sub("\ufffd", " ".join(text.split())), quote=True)


def _markdown(text: str) -> str:
    return _SIGNS.sub(lambda found: f"\\{found[0]}", _CONTROL.sub("\ufffd", " ".join(text.split())))
