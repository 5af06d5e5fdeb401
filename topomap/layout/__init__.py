"""Layouts: where the neurons of a layer lie in the plane."""

from topomap.layout.base import Algorithm, Layout
from topomap.layout.forces import Force, Graph, Swarm
from topomap.layout.joint import embed_jointly
from topomap.layout.methods import FEWEST, embed
from topomap.layout.neighbors import TSNE, UMAP
from topomap.layout.project import Projection, project_inputs
from topomap.layout.som import SOM
from topomap.layout.som_batch import BatchSOM
from topomap.layout.spectral import MDS, PCA, Random
from topomap.layout.spread import Spread

__all__ = [
    "FEWEST",
    "MDS",
    "PCA",
    "SOM",
    "TSNE",
    "UMAP",
    "Algorithm",
    "BatchSOM",
    "Force",
    "Graph",
    "Layout",
    "Projection",
    "Random",
    "Spread",
    "Swarm",
    "embed",
    "embed_jointly",
    "project_inputs",
]
