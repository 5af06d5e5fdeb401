"""From a film to a file: GIF by Pillow, MP4 and WebM by ffmpeg, HTML with a player."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import unknown
from topomap.plot.save import whole_file

if TYPE_CHECKING:
    from topomap.plot.film import Film

#: How long the last frame stays, in seconds, before a film begins again.
HOLD = 1.5

#: What ffmpeg is told, per format. Constant quality; the same frames give the same bytes.
_CODECS: dict[str, tuple[str, list[str]]] = {
    ".mp4": ("libx264", ["-crf", "18", "-preset", "veryfast", "-movflags", "+faststart"]),
    ".webm": ("libvpx-vp9", ["-crf", "30", "-b:v", "0", "-deadline", "realtime", "-cpu-used", "6", "-row-mt", "1"]),
}

#: All formats.
FORMATS = (".gif", ".html", *_CODECS)

#: Frames that the palette of a GIF is chosen from, and bits per channel that its colours are told apart by.
_SAMPLED, _BITS = 16, 6


def save_film(film: Film, to: Path, *, progress: bool = True) -> Path:
    """Write a film to a file of any format; see `Film.save`."""
    check_film_format(to)
    write: dict[str, Callable[..., None]] = {".gif": _write_gif, ".html": _write_html}
    with whole_file(to) as part:
        write.get(to.suffix.lower(), _write_video)(film, part, to.suffix.lower(), progress)
    return to


def check_film_format(to: str | Path) -> None:
    """Raise unless a film can be written to this file here.

    Parameters
    ----------
    to
        The file.

    Raises
    ------
    ValueError
        Naming the formats that can be written, and what is missing for the others.

    Examples
    --------
    >>> check_film_format("film.gif")
    >>> check_film_format("film.avi")
    Traceback (most recent call last):
        ...
    ValueError: the suffix of film.avi must be one of '.gif', '.html', '.mp4', '.webm'; got '.avi'...
    """
    path = Path(to)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise unknown(f"the suffix of {path}", path.suffix, FORMATS)
    if suffix in _CODECS and _CODECS[suffix][0] not in _encoders(_ffmpeg()):
        works = [".gif", ".html", *(name for name, (codec, _) in _CODECS.items() if codec in _encoders(_ffmpeg()))]
        missing = "no ffmpeg was found" if _ffmpeg() is None else f"{_ffmpeg()} has no {_CODECS[suffix][0]}"
        raise ValueError(
            f'{path} cannot be written: {missing}. Install one with pip install "topomap[video]", or save as '
            f"{' or '.join(works)}, which work here."
        )


def _bar(film: Film, to: Path, progress: bool, frames: Any) -> Any:
    from tqdm.auto import tqdm

    options = {"unit": "frame", "total": len(film), "disable": None if progress else True, "leave": False}
    return tqdm(frames, desc=f"filming {to.suffix[1:]}", **options)


def _ffmpeg() -> str | None:
    """Return the ffmpeg of the video extra, or one that is installed."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return shutil.which("ffmpeg")


@cache
def _encoders(executable: str | None) -> frozenset[str]:
    if executable is None:
        return frozenset()
    listed = subprocess.run([executable, "-hide_banner", "-encoders"], capture_output=True, text=True, check=False)
    return frozenset(line.split()[1] for line in listed.stdout.splitlines() if len(line.split()) > 1)


def _write_video(film: Film, part: Path, suffix: str, progress: bool) -> None:
    executable = _ffmpeg()
    assert executable is not None  # checked before
    codec, options = _CODECS[suffix]
    width, height = film.size
    rate = f"{film.fps:g}"
    command = [
        executable, "-hide_banner", "-loglevel", "error", "-nostdin", "-y",
        "-f", "rawvideo", "-pix_fmt", "rgb0", "-s", f"{width}x{height}", "-r", rate, "-i", "-",
        "-an", "-vf", "scale=out_color_matrix=bt709:out_range=tv", "-colorspace", "bt709", "-color_primaries", "bt709",
        "-color_trc", "bt709", "-color_range", "tv", "-pix_fmt", "yuv420p", "-c:v", codec, *options,
        "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-metadata", f"title={film.title}",
        str(part),
    ]  # fmt: skip
    with tempfile.TemporaryFile() as said:
        # its own session: Ctrl-C ends it through us, without words of its own
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
        )
        try:
            assert process.stdin is not None
            with process.stdin as pipe:
                _feed(film, pipe, part, progress)
            process.wait()
        except BrokenPipeError:
            process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            said.seek(0)
            words = said.read().decode(errors="replace").strip().splitlines()
            raise OSError(f"ffmpeg could not write {part.name}: {words[-1] if words else process.returncode}")


def _feed(film: Film, pipe: IO[bytes], part: Path, progress: bool) -> None:
    picture = None
    for time in _bar(film, part, progress, film.times):
        picture = film.painter.paint(float(time))
        pipe.write(picture.data)
    assert picture is not None  # a film has frames
    for _ in range(round(HOLD * film.fps)):
        pipe.write(picture.data)


def _write_gif(film: Film, part: Path, suffix: str, progress: bool) -> None:
    palette, nearest = make_palette(film)
    with part.open("wb") as file:
        file.write(_gif_head(film.size, palette, film.title))
        before: NDArray[np.uint8] | None = None
        clock = 0
        for i, time in enumerate(_bar(film, part, progress, film.times)):
            codes = nearest[_cells(film.painter.paint(float(time)))]
            last = i == len(film) - 1
            # whole hundredths of a second, such that no error adds up
            until = round((i + 1) * 100 / film.fps) + (round(HOLD * 100) if last else 0)
            file.write(_gif_frame(codes, before, until - clock))
            before, clock = codes, until
        file.write(b";")


#: Of the 256 colours of a GIF the one that leaves a pixel as it was.
_SAME = 255


def make_palette(film: Film) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return one palette for the whole film, and the colour of it that is nearest to each of 2**18 colours.

    The palette is Pillow's median cut of frames spread over the film; every colour of a frame is replaced by its
    nearest one, without dithering, whose noise would move from frame to frame.

    Returns
    -------
    palette
        Shape ``(255, 3)``.
    nearest
        Shape ``(2**18,)``, by the six highest bits of red, green and blue.
    """
    from PIL import Image
    from scipy.spatial import cKDTree

    at = np.unique(np.linspace(0, len(film) - 1, _SAMPLED).round().astype(int))
    counts = np.zeros(2 ** (3 * _BITS), dtype=np.int64)
    for i in at:
        counts += np.bincount(_cells(film.painter.paint(float(film.times[i]))).ravel(), minlength=len(counts))
    used = np.flatnonzero(counts)
    # each colour as often as the root of its count: a white page must not take the colours of the maps
    weights = np.ceil(np.sqrt(counts[used]) / 4).astype(np.int64)
    shades = _centres(used)
    sample = np.repeat(shades, weights, axis=0)
    image = Image.fromarray(sample[None])
    found = image.quantize(_SAME, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).getpalette() or []
    palette = np.zeros((_SAME, 3), dtype=np.uint8)
    given = np.array(found, dtype=np.uint8).reshape(-1, 3)[:_SAME]
    palette[: len(given)] = given
    palette[0] = 255  # the page is white, not nearly so
    nearest = cKDTree(palette.astype(np.float64)).query(_centres(np.arange(len(counts))))[1]
    return palette, nearest.astype(np.uint8)


def _cells(picture: NDArray[np.uint32]) -> NDArray[Any]:
    """Return colours cut to six bits each, as one number."""
    keep = 8 - _BITS
    red, green, blue = ((picture >> shift & 0xFF) >> keep for shift in (0, 8, 16))
    return np.asarray((red << 2 * _BITS) | (green << _BITS) | blue)


def _centres(cells: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the colours in the middle of cells; the ends stay black and white."""
    top = 2**_BITS - 1
    parts = np.stack([cells >> 2 * _BITS, cells >> _BITS & top, cells & top], axis=1)
    return np.asarray(np.round(parts * (255 / top)).astype(np.uint8))


def _gif_head(size: tuple[int, int], palette: NDArray[np.uint8], title: str) -> bytes:
    """Return what comes before the frames (GIF89a, sections 17 to 19, 24, 26)."""
    words = title.encode("ascii", "replace")[:255]
    width, height = (side.to_bytes(2, "little") for side in size)
    return b"".join([
        b"GIF89a", width, height, bytes([0xF7, 0, 0]), palette.tobytes(), bytes(3),
        b"!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00",  # again and again
        b"!\xfe", bytes([len(words)]), words, b"\x00",
    ])  # fmt: skip


def _gif_frame(codes: NDArray[np.uint8], before: NDArray[np.uint8] | None, delay: int) -> bytes:
    """Return one frame: of the part of the picture that changed, with what did not change left out."""
    top, bottom, left, right = 0, codes.shape[0], 0, codes.shape[1]
    if before is not None:
        changed = codes != before
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        if not len(rows):
            rows = columns = np.zeros(1, dtype=np.int64)  # a frame must have a pixel
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        codes = np.where(changed, codes, np.uint8(_SAME))[top:bottom, left:right]
    control = b"!\xf9\x04" + bytes([0x05]) + int(delay).to_bytes(2, "little") + bytes([_SAME, 0])
    place = b"".join(int(v).to_bytes(2, "little") for v in (left, top, right - left, bottom - top))
    return control + b"," + place + b"\x00" + _lzw(codes)


def _lzw(codes: NDArray[np.uint8]) -> bytes:
    """Return the compressed numbers of a picture: those that Pillow writes for them as shades of grey."""
    from PIL import Image

    stream = BytesIO()
    Image.fromarray(np.ascontiguousarray(codes)).save(stream, "GIF", optimize=False, interlace=False)
    data = stream.getvalue()
    at = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    while data[at] == 0x21:  # extensions
        at += 2
        while data[at]:
            at += data[at] + 1
        at += 1
    flags = data[at + 9]
    start = at + 10 + (3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0)
    return data[start : data.rindex(b";")]


def _write_html(film: Film, part: Path, suffix: str, progress: bool) -> None:
    from topomap.plot.player import write_player

    with part.open("w", encoding="utf-8", newline="\n") as file:
        write_player(film, file, range(len(film)), lambda frames: _bar(film, part, progress, frames))
