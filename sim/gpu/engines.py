"""Engines: what runs a model on a GPU, and what each of them fuses.

Eager PyTorch launches a kernel for each operator, with no more in it than its libraries put there:
the bias of a product, and attention as a whole; and it copies what a graph takes for free
(`copies`).  What Inductor compiles makes one kernel of a chain of elementwise operators and norms,
and leaves products to the libraries.  TensorRT also puts elementwise work behind the products and
convolutions that make its operand (TensorRT Developer Guide, on layer fusion).  Which kernels go
into which is by hand from these descriptions, assumed where they are silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from ..errors import MappingError

__all__ = ["ENGINES", "Engine", "engine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What runs a model.

    Attributes:
        name: Of it.
        chains: Whether elementwise operators and norms that read each other are one kernel.
        into_products: Whether elementwise operators run behind the product or the convolution that
            makes their operand, in its kernel.
        copies: Whether tensors are kept as a framework has them, so that layouts are converted,
            views made contiguous and concatenations copied.
        heads: Whether batched products of heads want them one after another in memory.
        quantizes: Whether tensors are kept in 16 bits or more, and brought to 8 for each product.
        widest_attention: The widest bits in which attention is one kernel.
        attention_times: How much longer that kernel takes than the one that was measured.
        graphs: Whether all launches up to the next read-back are recorded, and cost the host one.
        autocast: Whether weights are in fp32 and each operator casts what it reads.
    """

    name: str
    chains: bool = False
    into_products: bool = False
    copies: bool = False
    heads: bool = True
    quantizes: bool = True
    widest_attention: int = 32
    attention_times: float = 1.0
    graphs: bool = False
    autocast: bool = False


_ALL = (
    Engine(name="eager", copies=True),
    Engine(name="eager-autocast", copies=True, autocast=True),
    # Before FlashAttention-2, which made attention twice as fast (PyTorch 2.2's release notes).
    Engine(name="eager-torch-2.1", copies=True, attention_times=2.0),
    Engine(name="compiled", chains=True, graphs=True),
    Engine(name="compiled-no-graphs", chains=True),
    Engine(name="compiled-autocast", chains=True, autocast=True),
    # Attention is fused in 16 and 8 bits only, where PyTorch's libraries have fp32 too; recalled.
    Engine(
        name="tensorrt",
        chains=True,
        into_products=True,
        graphs=True,
        heads=False,
        quantizes=False,
        widest_attention=16,
    ),
)

ENGINES = MappingProxyType({one.name: one for one in _ALL})
"""By name."""


def engine(name: str) -> Engine:
    """The engine of that name.

    >>> engine("eager").chains, engine("compiled").chains
    (False, True)

    Raises:
        MappingError: There is none; the message names those there are.
    """
    if name not in ENGINES:
        raise MappingError(f"engine: wanted one of {', '.join(ENGINES)}, got {name!r}")
    return ENGINES[name]
