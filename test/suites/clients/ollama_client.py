"""Runs Ollama's Python client against the server at argv[1]; prints one JSON object with the results."""

import json
import sys

from ollama import Client, ResponseError

url, key = sys.argv[1:3]
client = Client(host=url, headers={"authorization": f"Bearer {key}"})
options = {"temperature": 0, "num_predict": 24, "num_ctx": 4096}
messages = [{"role": "user", "content": "What is this?"}]
whole = client.chat(model="tiny", messages=messages, options=options, keep_alive="5m")
lines = list(client.chat(model="tiny:latest", messages=messages, options=options, stream=True))
streamed = "".join(line.message.content for line in lines)
turns = [*messages, whole.message, {"role": "user", "content": "And that?"}]
second = client.chat(model="tiny", messages=turns, options=options).message.content
for _ in client.chat(model="tiny", messages=messages, options={**options, "num_predict": 900}, stream=True):
    break
text = client.generate(model="tiny", prompt="What is this?", options=options)
listed = client.list().models[0]
try:
    client.chat(model="unknown", messages=messages)
    error = None
except ResponseError as failure:
    error = [failure.status_code, failure.error]
seen = {
    "whole": whole.message.content,
    "streamed": streamed,
    "second": second,
    "text": text.response,
    "counts": [lines[-1].eval_count, lines[-1].prompt_eval_count == text.prompt_eval_count, lines[-1].total_duration > 0],
    "models": [listed.model, listed.details.family, client.ps().models[0].model],
    "capabilities": client.show("tiny").capabilities,
    "error": error,
}
print(json.dumps(seen))
