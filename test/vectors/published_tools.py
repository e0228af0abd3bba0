"""Renders the conversations of tools.py by the templates of published models, as tools.py does.

    python test/vectors/published_tools.py FOLDER

Needs what tools.py needs. FOLDER holds the templates: models/templates of llama.cpp, which the source
archive of llama-cpp-python (PyPI) has below vendor/. Writes test/vectors/published-tools.json: for
each template its name, its hash, how its family writes calls, and for each conversation a hash of
the text and one of the ids, or that the template refuses it.

Some of these models have licences of their own, so that only those under Apache-2.0 are copied, to
templates/tools. The test reads the others from the folder that FORETOKEN_TEMPLATES names.
"""

import hashlib
import importlib.metadata
import json
import sys
from pathlib import Path

from tools import CASES, TOOLS  # isort: skip  (then chat.py hides this folder, where tokenizers.py has a package's name)
from chat import HERE, case
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

# The file in FOLDER, the first and last token of a text, and the format of calls as the library names it.
PUBLISHED = {
    "meta-llama-Llama-3.1-8B-Instruct": ("<|begin_of_text|>", "<|eot_id|>", "llama3"),
    "meta-llama-Llama-3.2-3B-Instruct": ("<|begin_of_text|>", "<|eot_id|>", "llama3"),
    "meta-llama-Llama-3.3-70B-Instruct": ("<|begin_of_text|>", "<|eot_id|>", "llama3"),
    "llama-cpp-microsoft-Phi-4-mini-instruct": ("<|endoftext|>", "<|endoftext|>", "phi4-mini"),
    "LFM2-8B-A1B": ("<|startoftext|>", "<|im_end|>", "lfm2"),
    "LFM2.5-Instruct": ("<|startoftext|>", "<|im_end|>", "lfm2"),
    "ibm-granite-granite-4.0": ("<|end_of_text|>", "<|end_of_text|>", "hermes"),
    "mistralai-Ministral-3-14B-Reasoning-2512": ("<s>", "</s>", "mistral-args"),
    "mistralai-Mistral-Nemo-Instruct-2407": ("<s>", "</s>", "mistral"),
    "Mistral-Small-3.2-24B-Instruct-2506": ("<s>", "</s>", "mistral-args"),
    "Qwen-Qwen2.5-7B-Instruct": ("<|endoftext|>", "<|im_end|>", "hermes"),
    "Qwen-Qwen3-0.6B": ("<|endoftext|>", "<|im_end|>", "hermes"),
    "HuggingFaceTB-SmolLM3-3B": ("<|im_start|>", "<|im_end|>", "generic"),
}
# These leave calls out of a history: what they should get instead is not the reference's business.
TOOLS_ONLY = ["LFM2-8B-A1B", "LFM2.5-Instruct"]
# What is copied to templates/tools.
COPIED = {"ibm-granite-granite-4.0": "granite4.0", "mistralai-Ministral-3-14B-Reasoning-2512": "ministral3"}


def short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def main() -> None:
    folder = Path(sys.argv[1])
    made = Tokenizer.from_str(json.dumps(json.loads((HERE / "chat.json").read_text())["tokenizer"]))
    templates = []
    for name, (bos, eos, form) in PUBLISHED.items():
        template = (folder / f"{name}.jinja").read_text()
        reference = PreTrainedTokenizerFast(tokenizer_object=made, chat_template=template, bos_token=bos, eos_token=eos)
        cases = {}
        for conversation, messages in CASES.items():
            if name in TOOLS_ONLY and any("tool_calls" in message for message in messages):
                continue
            found = case(reference, made, messages, {"tools": TOOLS})
            cases[conversation] = None if "refused" in found else [short(found["text"]), found["ids"]]
        copied = {"copy": f"templates/tools/{COPIED[name]}.jinja"} if name in COPIED else {}
        templates.append({"name": name, **copied, "sha256": short(template), "bos": bos, "eos": eos, "format": form, "cases": cases})
        print(name, sum(each is None for each in cases.values()), "refused")
    golden = {"magic": "foretoken-golden", "version": 1, "kind": "published-tools", "made_by": "python test/vectors/published_tools.py FOLDER"}
    golden["packages"] = {name: importlib.metadata.version(name) for name in ("transformers", "tokenizers", "jinja2")}
    lines = ",\n".join(json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in templates)
    path = HERE / "published-tools.json"
    path.write_text(f'{json.dumps(golden)[:-1]}, "templates": [\n{lines}\n]}}\n')
    print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
