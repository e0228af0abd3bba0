"""Runs the `llm` package against the server at argv[1]; prints one JSON object with the results. Its folder is $LLM_USER_PATH."""

import json
import os
import sys

url, key = sys.argv[1:3]
folder = os.environ["LLM_USER_PATH"]
with open(os.path.join(folder, "keys.json"), "w") as file:
    json.dump({"foretoken": key}, file)
with open(os.path.join(folder, "extra-openai-models.yaml"), "w") as file:
    for model in ("tiny", "unknown"):
        file.write(f'- model_id: {model}\n  model_name: {model}\n  api_base: "{url}/v1"\n  api_key_name: foretoken\n')

import llm  # noqa: E402  (it reads its folder as it is loaded)

model = llm.get_model("tiny")
drawn = {"temperature": 0, "max_tokens": 24}
conversation = model.conversation()
first = conversation.prompt("What is this?", stream=False, **drawn).text()
second = conversation.prompt("And that?", stream=False, **drawn).text()
streamed = "".join(model.prompt("What is this?", system="Be brief.", stream=True, **drawn))
whole = model.prompt("What is this?", system="Be brief.", stream=False, **drawn).text()
for _ in model.prompt("What is this?", stream=True, temperature=0, max_tokens=900):
    break
try:
    unknown = llm.get_model("unknown")
    unknown.prompt("x", stream=False).text()
    error = None
except Exception as failure:
    error = str(failure)
print(json.dumps({"first": first, "second": second, "streamed": streamed, "whole": whole, "error": error}))
