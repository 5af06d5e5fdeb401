"""The image measures of Krug et al. 2023, for comparison with the paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import same_length, whole_number
from topomap.layout import Layout
from topomap.profiles import Profiles
from topomap.surface import Surface

if TYPE_CHECKING:
    import xarray

Bytes = NDArray[np.uint8]

#: Side of the published pictures: radii and areas are given for it, and scaled with the resolution.
_PUBLISHED = 100

#: A pixel belongs to a blob where the opposite colour is at most this strong.
_STRONG = 230

#: Pixels of the smallest blob that counts.
_SMALLEST = 10


@dataclass(frozen=True, eq=False)
class Smoothness:
    """How smooth the pictures of a layer are, means over groups; lower errors are smoother.

    Parameters
    ----------
    sizes, resize_mse, resize_auc
        Sides in pixels that pictures were shrunk to, relative absolute change, and the area under that curve.
    radii, blur_mse, blur_auc
        Radii in pixels of the Gaussian blur, relative absolute change, and the area under that curve.
    components, component_area
        Number of red and blue blobs, and their mean area in pixels.
    resolution
        Side of the pictures.

    Examples
    --------
    >>> import topomap as tm
    >>> rng = np.random.default_rng(0)
    >>> acts = tm.Activations.from_array(rng.normal(size=(40, 50)), label=np.arange(40) % 2)
    >>> layout = tm.Layout(rng.uniform(-1, 1, size=(50, 2)), region="square")
    >>> smoothness = tm.measure_smoothness(tm.profile(acts, by="label"), layout)
    >>> smoothness.sizes.tolist()
    [50, 45, 40, 35, 30, 25, 20, 15, 10, 5]
    """

    sizes: NDArray[np.int64]
    resize_mse: NDArray[np.float64]
    resize_auc: float
    radii: NDArray[np.float64]
    blur_mse: NDArray[np.float64]
    blur_auc: float
    components: float
    component_area: float
    resolution: int = _PUBLISHED

    def to_dict(self) -> dict[str, float]:
        """Return the scalars as the row of a table."""
        names = ("resize_auc", "blur_auc", "components", "component_area")
        return {name: float(getattr(self, name)) for name in names}

    def to_xarray(self) -> xarray.Dataset:
        """Return the curves over the dimensions ``size`` and ``radius``, and the scalars."""
        import xarray

        data: dict[str, Any] = {name: ((), value) for name, value in self.to_dict().items()}
        data |= {"resize_mse": (("size",), self.resize_mse), "blur_mse": (("radius",), self.blur_mse)}
        coords = {"size": self.sizes, "radius": self.radii}
        return xarray.Dataset(data, coords=coords, attrs={"resolution": self.resolution})

    def __repr__(self) -> str:
        blobs = f"{self.components:.1f} components of {self.component_area:.0f} pixels"
        return f"Smoothness(resize AUC {self.resize_auc:.3f}, blur AUC {self.blur_auc:.3f}, {blobs})"


def measure_smoothness(profiles: Profiles, layout: Layout, resolution: int = 100) -> Smoothness:
    """Measure how smooth the pictures of the group maps are, as Krug et al. (2023) compare layouts.

    These measures reward smoothness alone: a layout that piles neurons up scores well. Report them beside those of
    `measure_layout`. **Pixels without a map are black in the pictures and count as such**: what lies outside of the
    region, or of the neurons' hull, changes every number, so never compare regions of different shape.

    Parameters
    ----------
    profiles
        Painted in raw units, blue to white to red, limits symmetric at the largest absolute value over all groups
        and live neurons.
    layout
        Of the same neurons.
    resolution
        Side of the pictures in pixels. The paper's is 100; radii scale with it, and areas with its square.

    Returns
    -------
    Smoothness

    Raises
    ------
    ValueError
        If the layout is of other neurons, all of them are dead, or the resolution is below 50.

    Notes
    -----
    Section 3.4 and code of Krug et al. (2023, arXiv 2204.03528). ``resize_mse``: for ``k = 1 .. 10`` pictures are
    shrunk to ``55 - 5 k`` pixels and enlarged again, bicubic; ``blur_mse``: they are blurred with radius
    ``(k + 1) / 2``. Despite the names the error is the sum of absolute differences over the sum of the picture,
    red, green and blue together. Its curve is integrated by trapezoids over steps of 1. ``components``: connected
    areas (eight neighbours) of at least 10 pixels where the channel red (for blue blobs), or blue (for red ones), is
    at most 230 of 255; all but the area that the first pixel of the picture belongs to.

    Two things differ. The paper's code subtracts pictures as unsigned bytes, so that a difference of -1 counts as
    255; here the sign is kept, and errors are smaller. And pixel centres lie half a pixel within the frame.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> rng = np.random.default_rng(0)
    >>> places = rng.uniform(-1, 1, size=(300, 2))
    >>> places[:4] = [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    >>> acts = tm.Activations.from_array(np.stack([places[:, 0], -places[:, 0]]), label=["right", "left"])
    >>> profiles = tm.profile(acts, by="label")
    >>> tm.measure_smoothness(profiles, tm.Layout(places, region="square")).components
    2.0
    """
    whole_number("resolution", resolution, 50)
    same_length("profiles", profiles.n_neurons, "neuron of the layout", layout.n_neurons)
    pictures = paint(profiles, layout, resolution)
    scale = resolution / _PUBLISHED
    steps = np.arange(1, 11)
    sizes = 55 - 5 * steps  # at any resolution the same detail is left
    radii = (steps + 1) / 2 * scale
    resized = np.mean([[_change(picture, _resize(picture, int(size))) for size in sizes] for picture in pictures], 0)
    blurred = np.mean(
        [[_change(picture, _blur(picture, float(radius))) for radius in radii] for picture in pictures], 0
    )
    smallest = _SMALLEST * scale**2
    counts, areas = zip(*(_components(picture, smallest) for picture in pictures), strict=True)
    return Smoothness(
        sizes=sizes,
        resize_mse=resized,
        resize_auc=float(np.trapezoid(resized)),
        radii=radii,
        blur_mse=blurred,
        blur_auc=float(np.trapezoid(blurred)),
        components=float(np.mean(counts)),
        component_area=float(np.mean(areas)),
        resolution=resolution,
    )


def paint(profiles: Profiles, layout: Layout, resolution: int) -> Bytes:
    """Return the group maps as pictures of shape ``(n_groups, resolution, resolution, 3)``, black where there is none.

    The colours are matplotlib's ``bwr``, at its 256 levels.
    """
    values = profiles.over_places().values
    maps = Surface.of(layout, resolution=resolution)(values)
    limit = float(np.abs(values[:, layout.live]).max())
    position = (maps / limit + 1) / 2 if limit > 0 else np.where(np.isnan(maps), np.nan, 0.5)
    missing = np.isnan(position)
    level = np.clip(np.where(missing, 0, position) * 256, 0, 255).astype(np.int64)
    i = np.arange(256)
    ramp = np.stack([np.minimum(2 * i, 255), 255 - np.abs(2 * i - 255), np.minimum(510 - 2 * i, 255)], axis=1)
    pictures: Bytes = ramp.astype(np.uint8)[level]
    pictures[missing] = 0
    return pictures


def _change(picture: Bytes, changed: Bytes) -> float:
    before, after = picture.astype(np.int64), changed.astype(np.int64)
    return float(np.abs(before - after).sum() / max(before.sum(), 1))


def _resize(picture: Bytes, size: int) -> Bytes:
    from PIL import Image

    image = Image.fromarray(picture)
    bicubic = Image.Resampling.BICUBIC
    return np.asarray(image.resize((size, size), bicubic).resize(image.size, bicubic))


def _blur(picture: Bytes, radius: float) -> Bytes:
    from PIL import Image, ImageFilter

    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


def _components(picture: Bytes, smallest: float) -> tuple[int, float]:
    """Return number and mean area of blobs; the rest of the picture is an area too unless the first pixel is in it."""
    from scipy import ndimage

    areas = []
    for channel in (0, 2):
        labels, _ = ndimage.label(picture[:, :, channel] <= _STRONG, structure=np.ones((3, 3)))
        sizes = np.bincount(labels.ravel())
        sizes[labels[0, 0]] = 0
        areas.append(sizes[sizes >= smallest])
    found = np.concatenate(areas)
    return len(found), float(found.mean()) if len(found) else 0.0
