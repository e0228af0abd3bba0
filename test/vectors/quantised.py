"""Quantises numbers with llama.cpp's own code in the formats that are read in few bits, and dequantises them again.

    python test/vectors/quantised.py path/to/libggml-base.so

The library is part of the npm package @node-llama-cpp/linux-x64, which node-llama-cpp installs. quantised.json has for
each format the blocks of two rows of 256 numbers, normal with an outlier in each, and the numbers that they stand for. Where
the Python package `gguf` reads the format, its numbers must be the same.

Needs: numpy and gguf.
"""

import base64
import ctypes
import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, dequantize

ROWS, COLUMNS = 2, 256
FORMATS = {
    "q1_0": 41,
    "q2_0": 42,
    "q2_K": 10,
    "q3_K": 11,
    "iq4_nl": 20,
    "iq4_xs": 23,
    "mxfp4": 39,
    "tq1_0": 34,
    "tq2_0": 35,
}


class Traits(ctypes.Structure):
    """The first fields of ggml's `ggml_type_traits`."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("elements", ctypes.c_int64),
        ("interleave", ctypes.c_int64),
        ("bytes", ctypes.c_size_t),
    ]


def address(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def main() -> None:
    ggml = ctypes.CDLL(sys.argv[1])
    ggml.ggml_get_type_traits.restype = ctypes.POINTER(Traits)
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    random = np.random.default_rng(20261201)
    numbers = random.standard_normal((ROWS, COLUMNS)).astype(np.float32) * np.float32(0.1)
    numbers[0, 40], numbers[1, 200] = 0.9, -0.7
    formats = {}
    for name, number in FORMATS.items():
        traits = ggml.ggml_get_type_traits(number).contents
        assert traits.name.decode() == name
        size = ROWS * COLUMNS // traits.elements * traits.bytes
        blocks = np.zeros(size, dtype=np.uint8)
        rows = [ctypes.c_int64(value) for value in (0, ROWS, COLUMNS)]
        assert ggml.ggml_quantize_chunk(number, address(numbers), address(blocks), *rows, None) == size
        values = np.zeros(ROWS * COLUMNS, dtype=np.float32)
        getattr(ggml, f"dequantize_row_{name}")(address(blocks), address(values), ctypes.c_int64(ROWS * COLUMNS))
        checked = False
        try:
            same = dequantize(blocks.reshape(ROWS, -1), GGMLQuantizationType(number))
            assert np.array_equal(same.reshape(-1), values)
            checked = True
        except (NotImplementedError, ValueError):
            print(f"{name}: the package gguf does not read it")
        formats[name.lower()] = {
            "number": number,
            "gguf": checked,
            "blocks": base64.b64encode(blocks.tobytes()).decode(),
            "values": base64.b64encode(values.tobytes()).decode(),
        }
        print(name, "mean error", float(np.abs(values - numbers.reshape(-1)).mean()))
    golden = {
        "magic": "foretoken-golden",
        "version": 1,
        "kind": "quantised",
        "made_by": "python test/vectors/quantised.py path/to/libggml-base.so",
        "packages": {"gguf": importlib.metadata.version("gguf"), "node-llama-cpp": "3.22.1"},
        "columns": COLUMNS,
        "formats": formats,
    }
    path = Path(__file__).parent / "quantised.json"
    path.write_text(json.dumps(golden) + "\n")
    print(f"{path}: {path.stat().st_size} bytes")


main()
