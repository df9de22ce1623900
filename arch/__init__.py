"""What work is computed on: arrays, memories, vector units, GPUs and their energy."""

from . import fpga
from .accelerator import Accelerator, Host
from .array import OVERLAPS, ComputeArray, Dataflow, Overlap, Split, SystolicArray, UnrolledArray
from .device import Device
from .document import MachineError
from .energy import EnergyTable, PerDram, SramPoint
from .formats import FORMATS, Format, FormatError, PerFormat, PerProduct, bits, holds
from .gpu import Gpu, GpuEnergy, GpuFamily, GpuMemory
from .load import (
    device_names,
    energy_table,
    load_device,
    load_machine,
    machine_names,
    sources,
)
from .memory import Buffers, Dram, DramKind
from .vector import VECTOR_FUNCTIONS, VectorFunction, VectorUnit

__all__ = [
    "FORMATS",
    "OVERLAPS",
    "VECTOR_FUNCTIONS",
    "Accelerator",
    "Buffers",
    "ComputeArray",
    "Dataflow",
    "Device",
    "Dram",
    "DramKind",
    "EnergyTable",
    "Format",
    "FormatError",
    "Gpu",
    "GpuEnergy",
    "GpuFamily",
    "GpuMemory",
    "Host",
    "MachineError",
    "Overlap",
    "PerDram",
    "PerFormat",
    "PerProduct",
    "Split",
    "SramPoint",
    "SystolicArray",
    "UnrolledArray",
    "VectorFunction",
    "VectorUnit",
    "bits",
    "device_names",
    "energy_table",
    "fpga",
    "holds",
    "load_device",
    "load_machine",
    "machine_names",
    "sources",
]
