"""Film: frames that are drawn when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap.plot.frames import Painter
from topomap.training import Places, StepQuality, TrainingMaps


class Frames(Sequence[NDArray[np.uint8]]):
    """The frames of a film, each drawn when it is asked for: arrays of shape ``(height, width, 3)``."""

    def __init__(self, film: Film) -> None:
        self._film = film

    def __len__(self) -> int:
        return len(self._film.times)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"the film has {len(self)} frames; got {index}.")
        i = index % len(self)
        rgba = self._film.painter.paint(float(self._film.times[i]))
        return np.ascontiguousarray(rgba.view(np.uint8).reshape(*rgba.shape, 4)[..., :3])

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self[i] for i in range(len(self)))


@dataclass(frozen=True, eq=False)
class Film:
    """A film, drawn frame by frame when it is saved or looked at.

    Parameters
    ----------
    title
        Of the film.
    painter
        Paints a frame.
    times
        When each frame is, counted in steps of the film; whole numbers are snapshots, others lie between two.
    fps
        Frames per second.
    quality
        Of the layout at some of the steps, if it was measured.
    provenance
        Parameters, versions, and where values and layout came from.

    Examples
    --------
    >>> import topomap as tm
    >>> from topomap.datasets import digits
    >>> from topomap.demo import watch
    >>> run = watch(digits("train").take(range(200)), digits("test"), epochs=1)
    >>> film = tm.animate(run, "relu2", between=4, fps=10)
    >>> film
    Film(relu2 by label: 10 maps, 11 frames of 3 steps, 1280 x 720, 10 fps)
    >>> film.frames[0].shape, film.steps
    ((720, 1280, 3), (0, 1, 2))
    """

    title: str
    painter: Painter
    times: NDArray[np.float64]
    fps: float
    quality: StepQuality | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def frames(self) -> Frames:
        """The frames, drawn when they are asked for."""
        return Frames(self)

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps of the training that are shown."""
        return tuple(int(step) for step in self.painter.maps.steps)

    @property
    def maps(self) -> TrainingMaps:
        """The values that are shown."""
        return self.painter.maps

    @property
    def places(self) -> Places:
        """Where neurons lie."""
        return self.painter.places

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        plan = self.painter.stage.plan
        return plan.width, plan.height

    def __len__(self) -> int:
        return len(self.times)

    def save(self, to: str | Path, *, progress: bool = True) -> Path:
        """Save the film; the file appears whole or not at all.

        Parameters
        ----------
        to
            The file; its suffix is the format: ``.gif``; ``.html``, a page with a player that needs nothing else;
            ``.mp4`` and ``.webm``, which need ``pip install "topomap[video]"``.
        progress
            Whether to show a bar.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ValueError
            For a suffix that is no format, or one that cannot be written here; those that can are named.
        OSError
            If the file cannot be written.
        """
        from topomap.plot.movie import save_film

        return save_film(self, Path(to), progress=progress)

    def caption(self, frame: int) -> str:
        """Return in words where a frame is: its step and what was logged there."""
        at = float(self.times[frame])
        between = "" if at == int(at) else " (between two steps)"
        return " ".join(self.painter.readout(int(at)).split()) + between

    def _repr_html_(self) -> str:
        from topomap.plot.player import embed_player

        return embed_player(self)

    def __repr__(self) -> str:
        width, height = self.size
        maps = self.maps
        what = f"{maps.layer} by {' x '.join(maps.by)}" if maps.by else maps.layer
        return (
            f"Film({what}: {len(maps.titles)} maps, {len(self)} frames of {len(maps.steps)} steps, "
            f"{width} x {height}, {self.fps:g} fps)"
        )
