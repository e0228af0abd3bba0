"""Runs OpenAI's Python client, used carelessly, against the server at argv[1]; prints one JSON object with the results."""

import json
import sys

from openai import NotFoundError, OpenAI

url, key = sys.argv[1:3]
client = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
ask = {"model": "tiny", "temperature": 0, "max_tokens": 24, "seed": 9223372036854775807, "stop": None, "n": None}
messages = [{"role": "user", "content": "What is this?", "name": "Ada"}]
extra = {"top_k": 40, "min_p": 0.05, "chat_template_kwargs": {"enable_thinking": False}, "cache_prompt": True, "odd": 1}
raw = client.chat.completions.with_raw_response.create(messages=messages, extra_body=extra, **ask)
answer = raw.parse().choices[0].message
chunks = client.chat.completions.create(messages=messages, stream=True, extra_body=extra, **ask)
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
turns = [*messages, answer.model_dump(), {"role": "user", "content": "And that?"}]
second = client.chat.completions.create(messages=turns, **ask).choices[0].message.content
left = client.chat.completions.create(messages=messages, stream=True, **{**ask, "max_tokens": 900})
for _ in left:
    break
left.close()
first = client.responses.create(model="tiny", input="What is this?", temperature=0, max_output_tokens=12, store=False)
items = [{"role": "user", "content": "What is this?"}, *(item.model_dump() for item in first.output)]
items.append({"role": "user", "content": "And that?"})
response = client.responses.create(model="tiny", input=items, temperature=0, max_output_tokens=12, store=False)
try:
    client.chat.completions.create(messages=messages, **{**ask, "model": "unknown"})
    error = None
except NotFoundError as failure:
    error = failure.code
seen = {
    "whole": answer.content,
    "ignored": raw.headers.get("x-foretoken-ignored"),
    "streamed": streamed,
    "second": second,
    "response": response.output_text,
    "error": error,
}
print(json.dumps(seen))
