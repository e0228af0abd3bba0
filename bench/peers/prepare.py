"""Makes the peers' forms of the default model from its GGUF: a float32 and an int8 ONNX, and Q4_0 and Q8_0 GGUFs.

    python prepare.py MODEL.gguf OUT_DIR

Needs torch, transformers, accelerate, gguf, onnx, onnx_ir, onnxruntime and onnxruntime-genai. All forms
come from the same Q4_1 weights, so every engine answers for the same model; Q4_0 re-encodes them, and
loses a little.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import gguf
import onnx
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, quants
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, out / "Q4_1.gguf")
    for name in ("Q4_0", "Q8_0"):
        if not (out / f"{name}.gguf").exists():
            requantize(source, out / f"{name}.gguf", GGMLQuantizationType[name])
    folder = out / "hf"
    if not (folder / "config.json").exists():
        loaded = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
        # A model from a GGUF counts as quantised and cannot be saved, so a plain copy with the same weights is.
        config = type(loaded.config).from_dict(
            {key: value for key, value in loaded.config.to_dict().items() if key != "quantization_config"}
        )
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        plain.load_state_dict(loaded.state_dict())
        plain.save_pretrained(folder)
        AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)
    floats = out / "onnx-f32"
    if not (floats / "model.onnx").exists():
        builder = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(folder), "-o", str(floats)]
        subprocess.run([*builder, "-p", "fp32", "-e", "cpu", "-c", str(out / "cache")], check=True)
        last_token_only(floats / "model.onnx")
    ints = out / "onnx-int8"
    if not (ints / "model.onnx").exists():
        ints.mkdir(exist_ok=True)
        quantize_dynamic(
            floats / "model.onnx",
            ints / "model.onnx",
            weight_type=QuantType.QInt8,
            use_external_data_format=True,
            extra_options={"MatMulConstBOnly": True},
        )


def requantize(source: Path, target: Path, to: GGMLQuantizationType) -> None:
    """Copies a GGUF with its Q4_1 matrices in another type."""
    reader = GGUFReader(source)
    writer = GGUFWriter(target, "llama")
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        kind = field.types[0]
        if kind == GGUFValueType.ARRAY:
            writer.add_array(key, field.contents())
        else:
            file_type = {GGMLQuantizationType.Q4_0: 2, GGMLQuantizationType.Q8_0: 7}[to]
            writer.add_key_value(key, file_type if key == "general.file_type" else field.contents(), kind)
    for tensor in reader.tensors:
        if tensor.tensor_type == GGMLQuantizationType.Q4_1:
            values = quants.dequantize(tensor.data, tensor.tensor_type)
            writer.add_tensor(tensor.name, quants.quantize(values, to), raw_dtype=to)
        else:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def last_token_only(path: Path) -> None:
    """Cuts the vocabulary projection to the last token: otherwise every peer would pay for logits that nobody reads."""
    model = onnx.load(path)
    graph = model.graph
    head = next(node for node in graph.node if "logits" in node.output)
    hidden = head.input[0]
    for name, value in (("last_start", [-1]), ("last_end", [2**62]), ("last_axis", [1])):
        graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [1], value))
    cut = onnx.helper.make_node("Slice", [hidden, "last_start", "last_end", "last_axis"], ["last_hidden"])
    graph.node.insert(list(graph.node).index(head), cut)
    head.input[0] = "last_hidden"
    (path.parent / (path.name + ".data")).unlink(missing_ok=True)
    onnx.save(model, path, save_as_external_data=True, location=path.name + ".data")


if __name__ == "__main__":
    print(f"gguf {getattr(gguf, '__version__', '')} onnx {onnx.__version__}")
    main()
