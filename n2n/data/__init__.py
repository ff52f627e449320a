"""Training data: sequences drawn during training or read from a dataset on disk, and their batches."""

from n2n.data.batches import Batch, Batches
from n2n.data.epochs import Epochs
from n2n.data.generation import generate, generate_part
from n2n.data.store import TokenStore
from n2n.data.stream import Drawn, Source, Stream

__all__ = [
    "Batch",
    "Batches",
    "Drawn",
    "Epochs",
    "Source",
    "Stream",
    "TokenStore",
    "generate",
    "generate_part",
]
