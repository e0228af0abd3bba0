"""OpenAI's own Python client against the server at argv[1]; prints one JSON object of what it saw."""

import json
import sys

from openai import AuthenticationError, BadRequestError, NotFoundError, OpenAI

url, key = sys.argv[1:3]
client = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
chat = {"model": "tiny", "messages": [{"role": "user", "content": "What is this?"}], "temperature": 0, "max_tokens": 24}


def refused(kind, **changes):
    try:
        client.chat.completions.create(**{**chat, **changes})
    except kind as error:
        return error.status_code, error.code, error.param
    return None


def stranger():
    try:
        OpenAI(base_url=f"{url}/v1", api_key="nobody", max_retries=0).models.list()
    except AuthenticationError as error:
        return error.status_code
    return None


whole = client.chat.completions.create(**chat)
raw = client.chat.completions.with_raw_response.create(**chat, extra_body={"foretoken": {"prefill": "exact"}})
chunks = list(client.chat.completions.create(**chat, stream=True, stream_options={"include_usage": True}))
answer = client.responses.create(model="tiny", input="What is this?", temperature=0, max_output_tokens=12)
events = list(
    client.responses.create(model="tiny", input="What is this?", temperature=0, max_output_tokens=12, stream=True)
)
text = client.completions.create(model="tiny", prompt="one", max_tokens=5, temperature=0)
print(
    json.dumps(
        {
            "models": [model.id for model in client.models.list()],
            "whole": whole.choices[0].message.content,
            "finish": whole.choices[0].finish_reason,
            "usage": whole.usage.completion_tokens,
            "prefill": raw.headers.get("x-foretoken-prefill"),
            "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
            "streamed_usage": chunks[-1].usage.completion_tokens,
            "response": answer.output_text,
            "response_streamed": "".join(e.delta for e in events if e.type == "response.output_text.delta"),
            "response_last": events[-1].type,
            "text_tokens": text.usage.completion_tokens,
            "tools": refused(BadRequestError, tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}] * 2),
            "unknown_model": refused(NotFoundError, model="gpt-9"),
            "stranger": stranger(),
        }
    )
)
