"""A page that plays a film and needs nothing else: frames as pictures, a slider, and keys."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO, StringIO
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from topomap.plot.film import Film

#: Most frames of a film in a notebook, whose file holds them all.
_IN_NOTEBOOK = 120

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ margin: 0; font: 14px system-ui, sans-serif; color: #262626; background: #fff; }}
main {{ max-width: {width}px; margin: 0 auto; }}
img {{ display: block; width: 100%; height: auto; aspect-ratio: {width} / {height}; }}
.bar {{ display: flex; gap: 8px; align-items: center; padding: 6px 16px 10px; }}
.bar input {{ flex: 1; min-width: 80px; accent-color: #0072b2; }}
button, select {{ font: inherit; min-height: 32px; min-width: 44px; border: 1px solid #a3a3a3; border-radius: 4px;
 background: #fff; color: inherit; cursor: pointer; }}
:focus-visible {{ outline: 2px solid #0072b2; outline-offset: 2px; }}
output {{ min-width: 7ch; text-align: right; font-variant-numeric: tabular-nums; }}
p {{ margin: 0; padding: 0 16px 12px; color: #6b6b6b; font-size: 12px; }}
</style>
</head>
<body>
<main>
<img id="picture" alt="{title}" width="{width}" height="{height}">
<div class="bar">
<button id="play" type="button" aria-label="Play">Play</button>
<input id="slider" type="range" min="0" value="0" step="1" aria-label="Frame">
<output id="where" for="slider"></output>
<select id="speed" aria-label="Speed"><option value="0.25">¼×</option><option value="0.5">½×</option>
<option value="1" selected>1×</option><option value="2">2×</option><option value="4">4×</option></select>
</div>
<p>{note}Space plays and stops; arrow keys go by one frame, Page Up and Down by ten, Home and End to the ends.</p>
</main>
<script>
"use strict";
const words = {words};
const rate = {rate}, hold = {hold};
const frames = [
"""

_SCRIPT = """];
const find = id => document.getElementById(id);
const picture = find("picture"), slider = find("slider"), play = find("play"), where = find("where");
const last = frames.length - 1;
let at = 0, running = false, due = 0;
slider.max = last;
function show(i) {
  at = Math.max(0, Math.min(last, i));
  picture.src = frames[at];
  picture.alt = document.title + ": " + words[at];
  slider.value = at;
  slider.setAttribute("aria-valuetext", words[at]);
  where.textContent = (at + 1) + " / " + frames.length;
}
function run(on) {
  running = on;
  play.textContent = on ? "Pause" : "Play";
  play.setAttribute("aria-label", play.textContent);
  if (on) { due = 0; requestAnimationFrame(tick); }
}
function tick(now) {
  if (!running) return;
  if (!due) due = now + wait();
  if (now >= due) {
    show(at === last ? 0 : at + 1);
    due = Math.max(due + wait(), now);
  }
  requestAnimationFrame(tick);
}
function wait() {
  return 1000 * (1 / rate + (at === last ? hold : 0)) / find("speed").value;
}
play.addEventListener("click", () => run(!running));
slider.addEventListener("input", () => { run(false); show(+slider.value); });
document.addEventListener("keydown", event => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.tagName === "SELECT") return;
  const moves = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: -10, PageDown: 10,
    Home: -Infinity, End: Infinity };
  if (event.key === " ") { if (event.target !== play) { event.preventDefault(); run(!running); } }
  else if (event.key in moves) { event.preventDefault(); run(false); show(at + moves[event.key]); }
});
show(0);
if (!matchMedia("(prefers-reduced-motion: reduce)").matches) run(true);
</script>
</body>
</html>
"""


def write_player(
    film: Film,
    file: IO[str],
    chosen: Sequence[int],
    watch: Callable[[Sequence[int]], Iterable[int]] = iter,
    note: str = "",
) -> None:
    """Write the page, frame by frame.

    Parameters
    ----------
    film
        The film.
    file
        Open for text.
    chosen
        Frames to show, ascending; with fewer than all, each stays longer.
    watch
        What the frames are gone through by, to show a progress bar.
    note
        A sentence for the foot of the page.
    """
    from topomap.plot.movie import HOLD

    width, height = film.size
    file.write(
        _PAGE.format(
            title=html.escape(film.title), width=width, height=height, hold=HOLD, note=html.escape(note),
            words=_script([film.caption(i) for i in chosen]), rate=json.dumps(film.fps * len(chosen) / len(film)),
        )
    )  # fmt: skip
    for i in watch(chosen):
        file.write(f'"{_picture(film.frames[i])}",\n')
    file.write(_SCRIPT)


def embed_player(film: Film) -> str:
    """Return a frame with the player for notebooks; of long films it shows some of the frames."""
    width, height = film.size
    n = len(film)
    chosen = np.unique(np.linspace(0, n - 1, min(n, _IN_NOTEBOOK)).round().astype(int)).tolist()
    note = f"{len(chosen)} of {n} frames; save the film to have them all. " if len(chosen) < n else ""
    page = StringIO()
    write_player(film, page, chosen, note=note)
    shown = min(width, 960)
    return (
        f'<iframe srcdoc="{html.escape(page.getvalue(), quote=True)}" title="{html.escape(film.title, quote=True)}" '
        f'style="width: {shown}px; max-width: 100%; height: {round(shown * height / width) + 90}px; border: 0" '
        'sandbox="allow-scripts"></iframe>'
    )


def _script(value: Any) -> str:
    """Return JSON that no name in it can end the script with."""
    return json.dumps(value, ensure_ascii=True).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _picture(frame: Any) -> str:
    from PIL import Image

    stream = BytesIO()
    Image.fromarray(frame).save(stream, "WEBP", quality=82, method=3)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
