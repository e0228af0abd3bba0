"""Sends bodies that a server refuses early, with Python's own client; prints the status and code of each as one JSON list."""

import http.client
import json
import sys
from urllib.parse import urlsplit

url, path, size = urlsplit(sys.argv[1]), sys.argv[2], int(sys.argv[3])
headers = dict(header.split(": ", 1) for header in sys.argv[4:])


def pieces():
    for _ in range(size // 65536):
        yield b" " * 65536


def refused(body, chunked):
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
    connection.request("POST", path, body, headers, encode_chunked=chunked)
    response = connection.getresponse()
    return response.status, json.loads(response.read())["error"]["code"]


print(json.dumps([refused(b" " * size, False), refused(pieces(), True)]))
