"""An OpenAI-compatible server on this machine, for tests of what asks one."""

import contextlib
import http.server
import json
import threading


class Server(http.server.ThreadingHTTPServer):
    """`answer` gives the text for a request's body; `trouble` holds statuses that are answered first."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = lambda body: f"{body['messages'][-1]['content']}/{body['seed']}"
        self.trouble, self.asked = [], []
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body)
        if self.server.trouble:
            status, message = self.server.trouble.pop(0)
            return self.say(status, {"error": {"message": message, "type": "x", "code": None, "param": None}})
        text = self.server.answer(body)
        cut = len(text) > body["max_tokens"]
        choice = {"index": 0, "finish_reason": "length" if cut else "stop",
                  "message": {"role": "assistant", "content": text[: body["max_tokens"]]}}  # fmt: skip
        usage = {"completion_tokens": min(len(text), body["max_tokens"]), "prompt_tokens": 1, "total_tokens": 2}
        return self.say(200, {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"],
                              "choices": [choice], "usage": usage})  # fmt: skip

    def say(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("retry-after-ms", "1")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving():
    """A server that is under way."""
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
