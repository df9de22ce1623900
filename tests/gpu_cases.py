"""The GPUs whose kernels were measured, as the fits saw them."""

from tilewise.arch import Gpu, GpuMemory, PerFormat, load_machine
from tilewise.arch.memory import DramKind


def _gpu(
    name: str,
    sms: int,
    clock_hz: float,
    bf16: float,
    fp32: float,
    memory: tuple[float, DramKind],
    l2_bytes: int,
    launch_s: float,
) -> Gpu:
    other = load_machine("h200")
    assert isinstance(other, Gpu)
    formats = {"bf16": bf16, "fp16": bf16, "fp32": fp32}
    return other.replace(
        name=name,
        sms=sms,
        clock_hz=clock_hz,
        peak_flops=PerFormat.model_validate(formats),
        vector_flops=fp32,
        dram=GpuMemory(bytes_per_s=memory[0], capacity_bytes=16 * 10**9, kind=memory[1]),
        l2_bytes=l2_bytes,
        launch_s=launch_s,
    )


MEASURED = {
    gpu.name: gpu
    for gpu in (
        _gpu("h100", 132, 1830e6, 989.4e12, 67e12, (3.35e12, "hbm3"), 50 << 20, 2.6e-6),
        _gpu("l40s", 142, 2490e6, 362e12, 91.6e12, (864e9, "gddr6"), 96 << 20, 2.05e-6),
        _gpu("b200", 148, 1856e6, 2250e12, 75e12, (8e12, "hbm3e"), 126 << 20, 1.8e-6),
        _gpu("v100", 80, 1380e6, 112e12, 14e12, (900e9, "hbm2"), 6 << 20, 4e-6),
        _gpu("t4", 40, 1590e6, 65e12, 8.1e12, (320e9, "gddr6"), 4 << 20, 4e-6),
        _gpu("a100-40gb", 108, 1410e6, 312e12, 19.5e12, (1555e9, "hbm2"), 40 << 20, 3.9e-6),
        # The PCIe board, whose memory is slower than that of the machine of this name.
        _gpu("a100-80gb", 108, 1410e6, 312e12, 19.5e12, (1935e9, "hbm2e"), 40 << 20, 3.9e-6),
    )
}
"""By name; every GPU that a calibration names."""
