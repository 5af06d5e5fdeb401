"""From what was recorded to the features that are clustered: which values, and how they are scaled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Scale:
    """What raw values are divided by, and the principal components they are projected on.

    Parameters
    ----------
    divisor
        Per raw feature, shape ``(n_raw,)``; 0 where the unit is zero throughout, and stays so.
    components, center
        Principal components, shape ``(n_components, n_raw)``, and the mean of the scaled values, or None.
    explained
        Share of the variance of the scaled values that the components keep; 1 without PCA.
    """

    divisor: NDArray[np.float64]
    components: NDArray[np.float64] | None = None
    center: NDArray[np.float64] | None = None
    explained: float = 1.0
