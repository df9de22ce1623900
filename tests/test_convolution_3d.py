"""Convolutions over time as well: read, counted, and simulated as products with halos."""

from itertools import product
from math import prod

import numpy as np
import onnx
import pytest
from onnx import parser

import tilewise as tw
from tilewise.sim.product import Window
from tilewise.workloads.graph import Workload
from tilewise.workloads.onnx_reader import read


def convolution(body: str, shape: str, weight: str) -> Workload:
    text = (
        '<ir_version: 10, opset_import: ["" : 21]>\n'
        f"g (float[{shape}] x, float[{weight}] w) => (float y) {{ {body} }}"
    )
    model: onnx.ModelProto = parser.parse_model(text)
    weights = model.graph.input.pop()
    dims = [size.dim_value for size in weights.type.tensor_type.shape.dim]
    model.graph.initializer.append(
        onnx.numpy_helper.from_array(np.zeros(dims, np.float32), weights.name)
    )
    return read(model.SerializeToString(), "conv")


def test_with_one_frame_it_is_the_convolution_of_an_image() -> None:
    flat = convolution("y = Conv<pads=[1,1,1,1]>(x, w)", "2,16,20,24", "32,16,3,3")
    deep = convolution("y = Conv<pads=[0,1,1,0,1,1]>(x, w)", "2,16,1,20,24", "32,16,1,3,3")
    assert flat.macs == deep.macs == 2 * 32 * 16 * 9 * 20 * 24
    one, other = (tw.simulate(each, tw.machine("edge-32x32")) for each in (flat, deep))
    assert (one.cycles, one.energy_j) == (other.cycles, other.energy_j)


def test_over_time_alone_it_is_the_convolution_of_many_rows() -> None:
    deep = convolution("y = Conv<pads=[1,0,0,1,0,0]>(x, w)", "1,16,9,1,1", "32,16,3,1,1")
    row = convolution("y = Conv<pads=[1,1]>(x, w)", "1,16,9", "32,16,3")
    assert deep.macs == row.macs == 32 * 16 * 3 * 9
    one, other = (tw.simulate(each, tw.machine("edge-32x32")) for each in (deep, row))
    assert one.cycles == other.cycles


@pytest.mark.parametrize("outputs", [1, 4, 6, 12, 18, 30, 48, 60, 120])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (3, 1, 1), (1, 3, 3)])
def test_a_run_is_charged_what_it_reads(outputs: int, kernel: tuple[int, ...]) -> None:
    size = (4, 5, 6)
    window = Window(in_size=size, out_size=size, kernel=kernel, stride=(1, 1, 1), taps=prod(kernel))
    places = list(product(*map(range, size)))
    taps = [
        tuple(t - k // 2 for t, k in zip(tap, kernel, strict=True))
        for tap in product(*map(range, kernel))
    ]
    read_by = [
        {
            tuple(p + t for p, t in zip(place, tap, strict=True))
            for place in places[start : start + outputs]
            for tap in taps
        }
        & set(places)
        for start in range(0, len(places), outputs)
    ]
    assert max(map(len, read_by)) <= window.positions(outputs) <= len(places)
