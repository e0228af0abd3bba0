"""Runs Anthropic's Python client against the server at argv[1]; prints one JSON object with the results."""

import json
import sys

from anthropic import Anthropic, NotFoundError

url, key = sys.argv[1:3]
client = Anthropic(base_url=url, api_key=key, max_retries=0)
messages = [{"role": "user", "content": [{"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}}]}]
ask = {"model": "tiny", "max_tokens": 24, "system": "Be brief.", "extra_body": {"temperature": 0}}
whole = client.messages.create(messages=messages, **ask)
with client.messages.stream(messages=messages, **ask) as stream:
    streamed = "".join(stream.text_stream)
    final = stream.get_final_message()
turns = [*messages, {"role": "assistant", "content": whole.content}, {"role": "user", "content": "And that?"}]
second = client.messages.create(messages=turns, **ask)
with client.messages.stream(messages=messages, **{**ask, "max_tokens": 900}) as stream:
    for _ in stream:
        break
count = client.messages.count_tokens(model="tiny", messages=messages, system="Be brief.").input_tokens
models = [model.id for model in client.models.list()]
try:
    client.messages.create(messages=messages, **{**ask, "model": "unknown"})
    error = None
except NotFoundError as failure:
    error = [failure.body["error"]["type"], failure.request_id == failure.body["request_id"]]
seen = {
    "whole": whole.content[0].text,
    "streamed": streamed,
    "second": second.content[0].text,
    "stop": final.stop_reason,
    "read": final.usage.input_tokens + final.usage.cache_read_input_tokens,
    "count": count,
    "models": models,
    "error": error,
}
print(json.dumps(seen))
