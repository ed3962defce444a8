"""A connection between two hosts: messages of several parts, and a heartbeat that says that the other is there."""

from __future__ import annotations

import contextlib
import json
import queue
import select
import socket
import struct
import threading
from collections.abc import Callable, Sequence

_HEAD = struct.Struct("<cQ")  # kind and length of a frame
_SIZE = struct.Struct("<Q")
_DATA, _BEAT, _BYE, _ASK = b"D", b"B", b"E", b"A"

_GOODBYE_S = 1.0  # at most, for a last message

Ended = Callable[[int, str], None]  # (exit code, reason)


class Link:
    """To the host `peer_index`. `ended` is called, from a thread, when that host says goodbye with an exit code that
    is not 0, when its process is gone, and when it has been silent for `silence_s` seconds."""

    def __init__(self, sock: socket.socket, peer_index: int, peer: str, silence_s: float, gone_code: int, ended: Ended):
        self.peer_index, self._peer, self._sock = peer_index, peer, sock
        self._silence_s, self._gone_code, self._ended = silence_s, gone_code, ended
        self.heard: Callable[[Link], None] = lambda link: None  # what becomes of `ask` of the other host
        self._inbox: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
        self._sending, self._is_over = threading.Lock(), threading.Event()
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for task in (self._listen, self._beat):
            threading.Thread(target=task, name=f"hosts-{task.__name__}", daemon=True).start()

    def send(self, parts: Sequence[bytes]) -> None:
        """A message; one that cannot be sent is no error here: the heartbeat tells."""
        self._send(_DATA, b"".join(_SIZE.pack(len(part)) + part for part in parts))

    def receive(self) -> list[bytes]:
        """The next message of the other host."""
        return self._inbox.get()

    def ask(self) -> None:
        """Has `heard` called on the other host."""
        self._send(_ASK)

    def close(self, code: int, reason: str) -> None:
        """Says goodbye, if the other host takes it: a message to one that is gone may be on its way for ever."""
        self._is_over.set()
        is_free = self._sending.acquire(timeout=_GOODBYE_S)
        with contextlib.suppress(OSError):
            if is_free:
                self._sock.settimeout(_GOODBYE_S)
                payload = json.dumps([code, reason]).encode()
                self._sock.sendall(_HEAD.pack(_BYE, len(payload)) + payload)
            self._sock.shutdown(socket.SHUT_WR if is_free else socket.SHUT_RDWR)
        if is_free:
            self._sending.release()

    def _send(self, kind: bytes, payload: bytes = b"") -> None:
        with self._sending, contextlib.suppress(OSError):
            self._sock.sendall(_HEAD.pack(kind, len(payload)))
            self._sock.sendall(payload)

    def _beat(self) -> None:
        while not self._is_over.wait(self._silence_s / 5):
            self._send(_BEAT)

    def _listen(self) -> None:
        code, reason = self._gone_code, "its process is gone"
        try:
            while True:
                kind, size = _HEAD.unpack(self._read(_HEAD.size))
                payload = self._read(size)
                if kind == _BYE:
                    code, reason = json.loads(payload)
                    break
                if kind == _ASK:
                    self.heard(self)
                if kind == _DATA:
                    self._inbox.put(list(_parts(payload)))
        except TimeoutError:
            reason = f"it has not been heard of for {self._silence_s:.0f} s"
        except OSError:
            pass
        if not self._is_over.is_set() and code:
            self._is_over.set()
            self._ended(code, f"host {self.peer_index} ({self._peer}): {reason}")

    def _read(self, n: int) -> bytes:
        data = bytearray()
        while len(data) < n:
            if not select.select([self._sock], [], [], self._silence_s)[0]:
                raise TimeoutError
            part = self._sock.recv(min(n - len(data), 1 << 20))
            if not part:
                raise ConnectionResetError
            data += part
        return bytes(data)


def _parts(payload: bytes):
    at = 0
    while at < len(payload):
        (n,) = _SIZE.unpack_from(payload, at)
        at += _SIZE.size
        yield payload[at : at + n]
        at += n
