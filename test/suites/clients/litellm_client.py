"""Runs `litellm` against the server at argv[1]; prints one JSON object with the results."""

import json
import os
import sys

# Without this it fetches a list of prices.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm  # noqa: E402

url, key = sys.argv[1:3]
ask = {
    "model": "openai/tiny",
    "api_base": f"{url}/v1",
    "api_key": key,
    "temperature": 0,
    "max_tokens": 24,
    "seed": 9223372036854775807,
    "max_retries": 0,
}
messages = [{"role": "user", "content": "What is this?", "name": None, "cache_control": None}]
whole = litellm.completion(messages=messages, top_k=40, min_p=0.05, repetition_penalty=1.0, **ask)
answer = whole.choices[0].message
stream = litellm.completion(messages=messages, stream=True, stream_options={"include_usage": True}, **ask)
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
turns = [*messages, answer.model_dump(), {"role": "user", "content": "And that?"}]
second = litellm.completion(messages=turns, **ask).choices[0].message.content
for _ in litellm.completion(messages=messages, stream=True, **{**ask, "max_tokens": 900}):
    break
text = litellm.text_completion(prompt="one", **{**ask, "model": "text-completion-openai/tiny"}).choices[0].text
try:
    litellm.completion(messages=messages, **{**ask, "model": "openai/unknown"})
    error = None
except Exception as failure:
    error = [type(failure).__name__, getattr(failure, "status_code", None)]
seen = {"whole": answer.content, "streamed": streamed, "second": second, "text": text, "error": error}
print(json.dumps(seen))
