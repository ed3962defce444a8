"""How the hosts of a run find each other, before any of them asks for its devices."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Callable

from selfexec_jax.hosts.hosts import EXIT_CODE, Hosts, Lost
from selfexec_jax.hosts.link import Link

log = logging.getLogger(__name__)

PORT = 8476  # of JAX's coordinator; the default firewall of Google Cloud leaves it and the next one open inside
HEAR_S = 1.0  # before this process ends, so that others hear of it from us and not from JAX, which aborts them
_SAY_S = 30.0  # between lines about hosts that are waited for
_POLL_S = 0.2


def where() -> tuple[str, int, int]:
    """(coordinator's address, how many hosts, which one this is), from what surrounds it: a TPU pod, one of several
    slices, Slurm, Kubernetes. Raises ValueError where nothing says so."""
    from jax._src.clusters import ClusterEnv  # no public function only asks

    address, count, index, _ = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, 300)
    if address is None or count is None or index is None:
        raise ValueError("--hosts=auto: nothing here says which hosts there are; give --hosts, --host, --coordinator")
    return address, count, index


def join(
    address: str, count: int, index: int, limit_s: float, silence_s: float,
    ended: Callable[[int, str], None] | None = None,
) -> Hosts:  # fmt: skip
    """Waits until all hosts are there; raises Lost, with the names of those that are not, after `limit_s` seconds.

    address: HOST:PORT of host 0, where JAX's coordinator will listen; hosts talk at the port after it. `ended` is what
    happens when another host is gone: by default this process ends too, at once.
    """
    if not 0 <= index < count:
        raise ValueError(f"--host={index}: there are --hosts={count}, numbered from 0")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"--coordinator={address}: not HOST:PORT")
    until, ended = time.monotonic() + limit_s, ended or _end
    here = {"index": index, "count": count, "name": socket.gethostname()}
    if index:
        sock, names = _follow((host, int(port) + 1), here, until, limit_s)
        return Hosts(index, names, [Link(sock, 0, names[0], silence_s, EXIT_CODE, ended)])
    there, links = _lead(int(port) + 1, here, until, limit_s), []

    def tell_and_end(code: int, reason: str) -> None:
        for link in links:
            link.close(code, reason)
        time.sleep(HEAR_S)
        ended(code, reason)

    names = [here["name"], *(there[i][1] for i in sorted(there))]
    for sock, _ in there.values():
        _tell(sock, {"names": names})
    links += [Link(there[i][0], i, there[i][1], silence_s, EXIT_CODE, tell_and_end) for i in sorted(there)]
    return Hosts(0, names, links)


def start_devices(hosts: Hosts, address: str, limit_s: float) -> None:
    """Connects the hosts' devices. JAX's own heartbeat is slower than ours, which knows names."""
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is ours
    jax.distributed.initialize(
        address, hosts.count, hosts.index, initialization_timeout=int(limit_s), heartbeat_timeout_seconds=300
    )


def _end(code: int, reason: str) -> None:
    log.error("%s; this host ends too", reason)
    if code == EXIT_CODE:
        log.error("the same command on all hosts goes on from the last checkpoint")
    os._exit(code)


def _lead(port: int, here: dict, until: float, limit_s: float) -> dict[int, tuple[socket.socket, str]]:
    """The connection to every other host, and its name."""
    there: dict[int, tuple[socket.socket, str]] = {}
    missing = set(range(1, here["count"]))
    said = time.monotonic()
    with socket.create_server(("", port), reuse_port=False) as server:
        server.settimeout(_POLL_S)
        while missing:
            now = time.monotonic()
            if now > until:
                reason = f"{_names(missing, here['count'])} did not come within {limit_s:.0f} s: look at their logs"
                for sock, _ in there.values():
                    _tell(sock, {"lost": reason})
                raise Lost(reason)
            if now - said > _SAY_S:
                log.info("waiting for %s", _names(missing, here["count"]))
                said = now
            try:
                sock, _ = server.accept()
                sock.settimeout(10.0)
                hello = _told(sock)
                peer, count, name = hello["index"], hello["count"], hello["name"]
            except (OSError, ValueError, KeyError, TypeError):  # nobody, or nobody of ours
                continue
            if count != here["count"] or peer not in missing:
                missed = _names(missing, here["count"])
                _tell(sock, {"lost": f"host {peer} of {count} is not waited for, only {missed}"})
                continue
            there[peer] = sock, name
            missing.remove(peer)
    return there


def _follow(address: tuple[str, int], here: dict, until: float, limit_s: float) -> tuple[socket.socket, list[str]]:
    """The connection to host 0, and the names of all."""
    while True:
        try:
            sock = socket.create_connection(address, timeout=max(until - time.monotonic(), 1.0))
            _tell(sock, here)
            sock.settimeout(max(until - time.monotonic(), 0.0) + 10.0)  # host 0 says who else is missing
            told = _told(sock)
            break
        except (OSError, ValueError) as error:
            if time.monotonic() > until:
                raise Lost(f"host 0 cannot be reached at {address[0]}:{address[1]} within {limit_s:.0f} s"
                           f" ({error}); look at its log") from None  # fmt: skip
            time.sleep(_POLL_S)
    if "lost" in told:
        raise Lost(told["lost"])
    return sock, told["names"]


def _names(indices: set[int], count: int) -> str:
    return f"host{'s' * (len(indices) > 1)} {', '.join(map(str, sorted(indices)))} of {count}"


def _tell(sock: socket.socket, value: dict) -> None:
    sock.sendall(json.dumps(value).encode() + b"\n")


def _told(sock: socket.socket) -> dict:
    line = bytearray()
    while not line.endswith(b"\n"):  # a byte at a time: what follows is not ours to read
        part = sock.recv(1)
        if not part:
            raise ConnectionResetError("the connection was closed")
        line += part
    return json.loads(line)
