"""What the hosts of a run tell each other beside what their devices do: small things, by a star of sockets.

Host 0 is in the middle. Hosts call `gather` (or what is made of it) in the same order; that they all see the same list
is how they agree. A host whose process ends or whose machine is silent takes the others with it, by name: none of them
could go on, and the run goes on from its last checkpoint when it is started again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

from selfexec_jax.hosts.link import Link

EXIT_CODE = 75  # of a run that goes on when it is started again (EX_TEMPFAIL); launch/tpu.sh knows it


class Lost(Exception):
    """A host did not come, or is gone; one line that names it."""


class Hosts:
    """This host's place among those of the run; `links` lead to all others (of host 0) or to host 0."""

    def __init__(self, index: int = 0, names: Sequence[str] = ("",), links: Sequence[Link] = ()):
        self.index, self.count, self.names = index, len(names), tuple(names)
        self._links, self._asked = tuple(links), threading.Event()
        for link in links:
            link.heard = self._hear

    @property
    def is_first(self) -> bool:
        """Whether this is the host that writes files."""
        return self.index == 0

    def gather_bytes(self, what: str, data: bytes) -> list[bytes]:
        """What every host gives, in their order. what: names the call, which must be the same on all."""
        if self.count == 1:
            return [data]
        if self._links[0].peer_index == 0:
            self._links[0].send([what.encode(), data])
            return self._links[0].receive()
        parts = [data]
        for link in self._links:
            theirs, part = link.receive()
            if theirs != what.encode():
                reason = f"host {link.peer_index} is at {theirs.decode()!r} where host 0 is at {what!r}"
                self.leave(1, reason)
                raise RuntimeError(f"hosts: {reason}")
            parts.append(part)
        for link in self._links:
            link.send(parts)
        return parts

    def gather(self, what: str, value: Any) -> list:
        """As `gather_bytes`, for what can be said as JSON; of several hosts, tuples come back as lists."""
        if self.count == 1:
            return [value]
        return [json.loads(part) for part in self.gather_bytes(what, json.dumps(value).encode())]

    def any(self, what: str, flag: bool) -> bool:
        """Whether any host says so."""
        return any(self.gather(what, flag))

    def ask(self, flag: bool) -> bool:
        """Whether this host or, as far as it has heard, another says so; the others hear of it soon. No agreement."""
        if flag and self._links:
            self._hear(None)
        return flag or self._asked.is_set()

    def _hear(self, teller: Link | None) -> None:
        if not self._asked.is_set():
            self._asked.set()
            for link in self._links:
                if link is not teller:
                    link.ask()

    def wait(self, what: str) -> None:
        """Until all hosts are here."""
        self.gather_bytes(what, b"")

    def share(self, items: Sequence) -> Sequence:
        """This host's share of what all of them have."""
        return items[self.index :: self.count]

    def merged(self, shares: Sequence[Sequence]) -> list:
        """What was shared out, from what became of every host's share, in its first order."""
        n = sum(map(len, shares))
        return [shares[i % self.count][i // self.count] for i in range(n)]

    def divide(self, what: str, items: Sequence, work: Callable[[Sequence], Sequence]) -> list:
        """`work` on all items, each done by one host and known to all; its results are such as `gather` takes."""
        return self.merged(self.gather(what, list(work(self.share(items)))))

    def leave(self, code: int, reason: str) -> None:
        """Tells the others that this host ends, with an exit code that becomes theirs; 0: all are done."""
        for link in self._links:
            link.close(code, reason)


ALONE = Hosts()
