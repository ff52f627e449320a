"""Training data: sequences drawn as they are consumed, or kept on disk, and the batches made of either."""

from n2n.data.batches import Batches
from n2n.data.epochs import Epochs
from n2n.data.generation import generate, generate_part
from n2n.data.store import TokenStore
from n2n.data.stream import Source, Stream

__all__ = [
    "Batches",
    "Epochs",
    "Source",
    "Stream",
    "TokenStore",
    "generate",
    "generate_part",
]
