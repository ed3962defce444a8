"""A teacher's wording is kept only while its claims check: against a server on this machine."""

import http.server
import json
import threading

import pytest

from selfexec_jax.traces import narrate
from selfexec_jax.traces.teacher import Teacher, rewrite

pytest.importorskip("openai")
SOURCE = "t = 0\nfor x in [2, 3]:\n    t += x\nprint(t)\n"


class Server(http.server.BaseHTTPRequestHandler):
    """Answers each request by the next of `answers`, a function of the account that is asked about."""

    answers: list = []
    asked: list = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        question = body["messages"][0]["content"]
        self.asked.append(body)
        account = question.partition("Account:\n")[2]
        content = self.answers[min(len(self.asked), len(self.answers)) - 1](account)
        message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        answer = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [message]}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def teacher(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    Server.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Teacher(f"http://127.0.0.1:{server.server_port}/v1", "any", at_once=1)
    server.shutdown()


def reworded(account):
    return account.replace("becomes", "is now set to").replace("it prints", "it outputs")


def wrong(account):
    return reworded(account).replace("5", "6")


def test_right_rewordings_are_kept_and_wrong_ones_asked_for_again(traced, teacher):
    trace = traced(SOURCE).trace
    Server.answers = [wrong, reworded, wrong, wrong]
    found, counts = rewrite([trace, trace], teacher)
    assert found[0].text == reworded(narrate(trace).text)
    assert (found[1].text, found[1].reason) == (None, "wrong value")
    assert counts == {"asked": 2, "kept": 1, "rejection_rate": 0.5}
    assert len(Server.asked) == 4
    assert SOURCE in Server.asked[0]["messages"][0]["content"]


def test_nothing_is_kept_of_an_empty_answer(traced, teacher):
    Server.answers = [lambda account: ""]
    found, counts = rewrite([traced(SOURCE).trace], teacher)
    assert (found[0].text, counts["rejection_rate"]) == (None, 1.0)
