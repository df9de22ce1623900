"""Engines: what runs a model on a GPU, and what each of them fuses.

Eager PyTorch launches a kernel for each operator, with no more in it than its libraries put there:
the bias of a product, and attention as a whole.  Its convolutions compute in NHWC, so tensors in
NCHW, its own layout, are converted before and behind each (NVIDIA, Convolutional Layers User's
Guide, on tensor layouts), and a concatenation is copied.  What Inductor compiles makes one kernel
of a chain of elementwise operators and norms, and leaves products to the libraries.  TensorRT also
puts elementwise work behind the products and convolutions that make its operand (TensorRT
Developer Guide, on layer fusion).  Which kernels go into which is by hand from these descriptions,
assumed where they are silent.
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
        channels_last: Whether tensors already have the layout in which convolutions compute.
        copies_joined: Whether a concatenation is copied rather than written in place.
        graphs: Whether all launches up to the next read-back are recorded, and cost the host one.
        autocast: Whether weights are in fp32 and each operator casts what it reads.
    """

    name: str
    chains: bool = False
    into_products: bool = False
    channels_last: bool = True
    copies_joined: bool = False
    graphs: bool = False
    autocast: bool = False


_ALL = (
    Engine(name="eager", channels_last=False, copies_joined=True),
    Engine(name="eager-autocast", channels_last=False, copies_joined=True, autocast=True),
    Engine(name="compiled", chains=True, graphs=True),
    Engine(name="compiled-no-graphs", chains=True),
    Engine(name="tensorrt", chains=True, into_products=True, graphs=True),
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
