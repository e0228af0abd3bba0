"""OpenAI's own Python client asks for shapes and gives tools to the server at argv[1]; prints one JSON object of what it saw."""

import json
import sys
from typing import Literal

import openai
from openai import OpenAI
from pydantic import BaseModel

url, key = sys.argv[1:3]
client = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
messages = [{"role": "user", "content": "How is it?"}]
chat = {"model": "tiny", "temperature": 1, "seed": 4, "max_tokens": 300}


class Mood(BaseModel):
    mood: Literal["good", "bad"]
    days: int | None


class Weather(BaseModel):
    """Tells the weather."""

    city: Literal["Oslo", "Rome"]


parsed = client.chat.completions.parse(messages=messages, response_format=Mood, **chat).choices[0].message.parsed
with client.chat.completions.stream(messages=messages, response_format=Mood, **chat) as stream:
    for _ in stream:
        pass
    streamed = stream.get_final_completion().choices[0].message.parsed
response = client.responses.parse(
    model="tiny", input="How is it?", text_format=Mood, temperature=1, max_output_tokens=300
).output_parsed
tools = [openai.pydantic_function_tool(Weather)]
required = {**chat, "messages": messages, "tools": tools, "tool_choice": "required"}
called = client.chat.completions.parse(**required).choices[0]
call = called.message.tool_calls[0]
with client.chat.completions.stream(**required) as stream:
    for _ in stream:
        pass
    streamed_call = stream.get_final_completion().choices[0].message.tool_calls[0]
turns = [*messages, called.message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
last = client.chat.completions.create(**{**chat, "messages": turns, "tools": tools, "tool_choice": "none", "max_tokens": 24})
try:
    schema = {"name": "a", "schema": {"properties": {"a": {"type": "strng"}}}}
    client.chat.completions.create(messages=messages, response_format={"type": "json_schema", "json_schema": schema}, **chat)
    refused = None
except openai.BadRequestError as error:
    refused = error.message
print(
    json.dumps(
        {
            "parsed": isinstance(parsed, Mood),
            "same": parsed == streamed,
            "response": isinstance(response, Mood),
            "finish": called.finish_reason,
            "call": [call.function.name, isinstance(call.function.parsed_arguments, Weather)],
            "same_call": streamed_call.function.arguments == call.function.arguments,
            "last": [last.choices[0].message.content, last.choices[0].message.tool_calls],
            "refused": refused,
        }
    )
)
