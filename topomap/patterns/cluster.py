"""HDBSCAN as Neural Activation Patterns use it, with its results in the published order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from topomap._check import warn
from topomap.patterns.tree import Distances, spanning_tree

Float = NDArray[np.float64]

#: More features than this and ``hdbscan`` compares all pairs one by one (fewer: by trees); here products do it.
TREE_FEATURES = 60


@dataclass(frozen=True, eq=False)
class Clustering:
    """What HDBSCAN makes of features, clusters numbered by descending persistence.

    Parameters
    ----------
    labels, probabilities, outlier_scores
        Per row, shape ``(n,)``; -1 is noise.
    persistence
        Per cluster, descending.
    order
        The label that ``hdbscan`` gave to each cluster.
    model
        The fitted ``hdbscan.HDBSCAN``, None where there were too few rows for any cluster.
    """

    labels: NDArray[np.int64]
    probabilities: Float
    outlier_scores: Float
    persistence: Float
    order: NDArray[np.int64]
    model: Any = None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.labels)

    @property
    def endless(self) -> bool:
        """Whether more rows are identical than `min_samples`, so that their density, 1 over distance, is infinite."""
        return self.model is not None and bool(np.isinf(self.model.condensed_tree_.to_numpy()["lambda_val"]).any())


def cluster(
    features: Float,
    *,
    min_cluster_size: int = 5,
    min_samples: int = 5,
    cluster_selection_epsilon: float = 0.0,
    selection: str = "leaf",
    metric: str = "euclidean",
) -> Clustering:
    """Cluster rows of features by HDBSCAN and sort the clusters by persistence, then size.

    GLOSH scores of rows in a cluster that holds an infinite density are 1 in the limit, where ``hdbscan`` gives NaN.

    Parameters
    ----------
    features
        Shape ``(n, n_features)``, finite.
    min_cluster_size, min_samples, cluster_selection_epsilon, selection, metric
        As in ``hdbscan.HDBSCAN``.

    References
    ----------
    Campello, Moulavi, Zimek, Sander (2015), doi 10.1145/2733381; McInnes, Healy, Astels (2017), doi
    10.21105/joss.00205.
    """
    n = len(features)
    if n < min_cluster_size:
        nothing = np.zeros(0)
        return Clustering(np.full(n, -1), np.zeros(n), np.zeros(n), nothing, nothing.astype(np.int64))
    from hdbscan import HDBSCAN

    model = HDBSCAN(
        min_cluster_size=int(min_cluster_size),
        min_samples=int(min_samples),
        cluster_selection_epsilon=float(cluster_selection_epsilon),
        cluster_selection_method=selection,
        metric=metric,
        core_dist_n_jobs=1,  # no worker processes behind the user's back
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric == "euclidean" and features.shape[1] > TREE_FEATURES:
            _fit(model, features)
        else:
            model.fit(features)
        scores = np.asarray(model.outlier_scores_)
    found = np.asarray(model.labels_, dtype=np.int64)
    persistence = np.asarray(model.cluster_persistence_, dtype=np.float64)
    counts = np.bincount(found[found >= 0], minlength=len(persistence))
    order = np.lexsort((-counts, -persistence))
    position = np.append(np.argsort(order), -1)  # the last for noise
    return Clustering(
        position[found],
        np.asarray(model.probabilities_, dtype=np.float64),
        np.clip(np.nan_to_num(scores, nan=1.0), 0, 1),
        persistence[order],
        order,
        model,
    )


def _fit(model: Any, features: Float) -> None:
    """Do what ``model.fit`` does, from a spanning tree that products found: the same result many times sooner.

    A release of ``hdbscan`` without the functions that take a tree fits by itself.
    """
    try:
        from hdbscan._hdbscan_linkage import label
        from hdbscan.hdbscan_ import _tree_to_labels
    except ImportError:
        warn(
            "this hdbscan lacks the functions that take a spanning tree: the result is the same, but takes many times "
            "longer. Install 'hdbscan>=0.8.42,<0.9'.",
            stacklevel=6,
        )
        model.fit(features)
        return
    edges = spanning_tree(features, model.min_samples)
    linkage = label(edges[np.argsort(edges[:, 2])])
    model._raw_data, model._all_finite, model._min_spanning_tree = features, True, None
    model.labels_, model.probabilities_, model.cluster_persistence_, model._condensed_tree, _ = _tree_to_labels(
        features,
        linkage,
        model.min_cluster_size,
        model.cluster_selection_method,
        cluster_selection_epsilon=model.cluster_selection_epsilon,
    )
    model._single_linkage_tree = linkage


def _prepare(model: Any) -> None:
    """Do what ``model.generate_prediction_data`` does, with neighbours by products where the tree was found so."""
    from hdbscan.prediction import PredictionData

    class Prediction(PredictionData):  # type: ignore[misc]
        # where hdbscan looks up its trees; a release that looks elsewhere finds the same neighbours, later
        _tree_type_map: ClassVar[dict[str, Any]] = {"kdtree": Distances}

    if model.metric == "euclidean" and model._raw_data.shape[1] > TREE_FEATURES:
        model.prediction_data_ = Prediction(model._raw_data, model.condensed_tree_, model.min_samples)
    else:
        model.generate_prediction_data()
    # a copy of one of many identical rows belongs to them: the largest number stands for the infinite density
    known = model.prediction_data_.max_lambdas
    known.update({c: min(density, np.finfo(float).max) for c, density in known.items()})


def predict(clustering: Clustering, features: Float) -> tuple[NDArray[np.int64], Float, Float]:
    """Labels, probabilities and outlier scores of new rows, by ``hdbscan``'s approximate prediction."""
    n = len(features)
    if not len(clustering.order):  # without clusters there is nothing that hdbscan could predict
        return np.full(n, -1), np.zeros(n), np.ones(n)
    from hdbscan.prediction import approximate_predict, approximate_predict_scores

    model = clustering.model
    if getattr(model, "_prediction_data", None) is None:
        _prepare(model)
    with np.errstate(invalid="ignore", divide="ignore"):
        found, probabilities = approximate_predict(model, features)
        scores = approximate_predict_scores(model, features)
    position = np.append(np.argsort(clustering.order), -1)
    scores = np.where(np.isnan(scores), 1 - probabilities, scores)  # 0 for copies in the infinite density, 1 around it
    return position[found], np.asarray(probabilities, dtype=np.float64), np.clip(scores, 0, 1)
