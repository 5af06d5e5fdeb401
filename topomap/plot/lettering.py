"""Words that change from frame to frame, written as pixels in the font of the figures."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

#: Words that are remembered.
_MOST = 512


class Letters:
    """Writes into pictures.

    Parameters
    ----------
    sizes
        Pixels per size of letters, by name.
    """

    def __init__(self, sizes: Mapping[str, float]) -> None:
        from matplotlib.font_manager import FontProperties, findfont
        from PIL import ImageFont

        path = findfont(FontProperties())
        self._fonts = {name: ImageFont.truetype(path, size) for name, size in sizes.items()}
        self._known: OrderedDict[tuple[str, str], tuple[NDArray[np.float32], int, int]] = OrderedDict()

    def write(
        self,
        picture: NDArray[np.uint32],
        x: float,
        y: float,
        text: str,
        size: str,
        color: str,
        align: Literal["left", "center", "right"] = "left",
    ) -> None:
        """Write at a place on a base line, over what is there; what would leave the picture is cut off."""
        from matplotlib.colors import to_rgb

        cover, ascent, width = self._drawn(text, size)
        left = round(x - {"left": 0, "center": width / 2, "right": width}[align])
        top = round(y) - ascent
        height, across = picture.shape
        r0, r1, c0, c1 = max(top, 0), min(top + len(cover), height), max(left, 0), min(left + cover.shape[1], across)
        if r0 >= r1 or c0 >= c1:
            return
        part = cover[r0 - top : r1 - top, c0 - left : c1 - left, None]
        under = np.ascontiguousarray(picture[r0:r1, c0:c1]).view(np.uint8).reshape(r1 - r0, c1 - c0, 4)
        under[..., :3] = np.round(under[..., :3] * (1 - part) + np.array(to_rgb(color)) * 255 * part)
        picture[r0:r1, c0:c1] = under.view("<u4")[..., 0]

    def _drawn(self, text: str, size: str) -> tuple[NDArray[np.float32], int, int]:
        """Return coverage from 0 to 1, the rows above the base line, and the width."""
        key = (text, size)
        if key not in self._known:
            from PIL import Image, ImageDraw

            font: Any = self._fonts[size]
            ascent, descent = font.getmetrics()
            width = int(np.ceil(font.getlength(text)))
            image = Image.new("L", (width + 2, ascent + descent))
            ImageDraw.Draw(image).text((0, ascent), text, fill=255, font=font, anchor="ls")
            self._known[key] = (np.asarray(image, dtype=np.float32) / np.float32(255), int(ascent), width)
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
        return self._known[key]
