"""What hosts tell each other, and what becomes of them when one does not come, differs, ends, or is silent."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from selfexec_jax.hosts import ALONE, EXIT_CODE, Lost, joining, supervising


def free_port():
    """One whose next is free too."""
    while True:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", 0))
            port = a.getsockname()[1]
            try:
                b.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


class Ended:
    """Takes the place of a process that ends."""

    def __init__(self):
        self.told, self.event = [], threading.Event()

    def __call__(self, code, reason):
        self.told.append((code, reason))
        self.event.set()


def joined(count, silence_s=20.0, limit_s=20.0):
    address, found, ended = f"127.0.0.1:{free_port()}", [None] * count, [Ended() for _ in range(count)]

    def one(i):
        try:
            found[i] = joining.join(address, count, i, limit_s, silence_s, ended[i])
        except Lost as error:
            found[i] = error

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for thread in reversed(threads):  # host 0 is the last
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    return found, ended


def on_all(hosts, function):
    """What the function gives on every host, called at once."""
    found = [None] * len(hosts)

    def one(i):
        try:
            found[i] = function(hosts[i])
        except Exception as error:
            found[i] = error

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(hosts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return found


@pytest.fixture(scope="module")
def three():
    return joined(3)[0]


def test_every_host_sees_what_all_say_in_their_order(three):
    assert [h.index for h in three] == [0, 1, 2] and {h.count for h in three} == {3}
    assert on_all(three, lambda h: h.gather("a", {"i": h.index})) == [[{"i": 0}, {"i": 1}, {"i": 2}]] * 3
    assert on_all(three, lambda h: h.any("b", h.index == 2)) == [True] * 3
    assert on_all(three, lambda h: h.any("c", False)) == [False] * 3
    big = [bytes([i]) * (5_000_000 * i) for i in range(3)]
    assert on_all(three, lambda h: h.gather_bytes("d", big[h.index]) == big) == [True] * 3


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_work_is_divided_and_comes_back_in_order(three, n):
    done = [[] for _ in three]

    def work(h):
        return h.divide("squares", range(n), lambda share: done[h.index].extend(share) or [x * x for x in share])

    assert on_all(three, work) == [[x * x for x in range(n)]] * 3
    assert sorted(x for part in done for x in part) == list(range(n))
    assert max(map(len, done)) - min(map(len, done)) <= 1


def test_a_host_alone_asks_nobody():
    assert ALONE.gather("a", (1, 2)) == [(1, 2)] and ALONE.any("b", True) and ALONE.is_first
    assert ALONE.divide("c", [1, 2], lambda x: [y + 1 for y in x]) == [2, 3]
    assert ALONE.gather_bytes("d", b"x") == [b"x"]


def test_hosts_that_do_different_things_are_told():
    (first, second), ended = joined(2)
    threading.Thread(target=lambda: second.gather("sft 3", 0), daemon=True).start()
    with pytest.raises(RuntimeError, match="host 1 is at 'sft 3' where host 0 is at 'sft 4'"):
        first.gather("sft 4", 0)
    assert ended[1].event.wait(10) and "host 1 is at 'sft 3'" in ended[1].told[0][1]


def test_a_host_that_leaves_takes_the_others_with_its_code_and_reason():
    hosts, ended = joined(3)
    hosts[1].leave(2, "error: no such file")
    assert ended[0].event.wait(10)
    reason = f"host 1 ({socket.gethostname()}): error: no such file"
    assert ended[2].event.wait(10) and ended[0].told == [(2, reason)]
    assert ended[2].told == [(2, f"host 0 ({socket.gethostname()}): {reason}")]


def test_what_one_is_asked_the_others_hear():
    hosts, _ = joined(3)
    assert not any(h.ask(False) for h in hosts)
    assert hosts[2].ask(True) and hosts[2].ask(False)
    until = time.monotonic() + 10
    while time.monotonic() < until and not all(h.ask(False) for h in hosts):
        time.sleep(0.01)
    assert all(h.ask(False) for h in hosts)


def test_hosts_that_are_done_take_nobody():
    hosts, ended = joined(3)
    for h in hosts:
        h.leave(0, "done")
    time.sleep(0.5)
    assert [e.told for e in ended] == [[], [], []]


def test_a_silent_host_is_missed():
    """Its machine is gone without a word: the connection stays open and nothing comes."""
    address = f"127.0.0.1:{free_port()}"
    ended = Ended()
    port = int(address.rsplit(":")[-1])

    def mute():
        while True:
            try:
                sock = socket.create_connection(("127.0.0.1", port + 1))
                break
            except OSError:
                time.sleep(0.05)
        sock.sendall(json.dumps({"index": 1, "count": 2, "name": "mute"}).encode() + b"\n")
        time.sleep(30)

    threading.Thread(target=mute, daemon=True).start()
    began = time.monotonic()
    (link,) = joining.join(address, 2, 0, 20.0, 1.0, ended)._links
    threading.Thread(target=link.send, args=([bytes(1 << 26)],), daemon=True).start()  # more than lies on the way
    assert ended.event.wait(10) and time.monotonic() - began < 8
    assert ended.told == [(EXIT_CODE, "host 1 (mute): it has not been heard of for 1 s")]


def test_the_others_hear_who_did_not_come():
    address, found = f"127.0.0.1:{free_port()}", {}

    def one(i):
        try:
            joining.join(address, 4, i, 1.5, 5.0)
        except Lost as error:
            found[i] = str(error)

    threads = [threading.Thread(target=one, args=(i,)) for i in (0, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    reason = "hosts 1, 3 of 4 did not come within 2 s: look at their logs"
    assert found == {0: reason, 2: reason}


def test_host_0_that_does_not_come_is_named():
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(Lost, match="host 0 cannot be reached at 127.0.0.1:.* within 1 s"):
        joining.join(address, 2, 1, 1.0, 5.0)


def test_strangers_at_the_door_are_let_be():
    port, found = free_port(), {}

    def stranger():
        while True:
            try:
                sock = socket.create_connection(("127.0.0.1", port + 1))
                break
            except OSError:
                time.sleep(0.02)
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        other = socket.create_connection(("127.0.0.1", port + 1))
        other.sendall(b"1\n")

    def one(i):
        found[i] = joining.join(f"127.0.0.1:{port}", 2, i, 20.0, 5.0, Ended())

    threads = [threading.Thread(target=stranger), *(threading.Thread(target=one, args=(i,)) for i in (0, 1))]
    for thread in threads:
        thread.start()
        time.sleep(0.2)
    for thread in threads:
        thread.join(20)
    assert found[0].count == found[1].count == 2


@pytest.mark.parametrize(
    ("address", "count", "index", "said"),
    [("127.0.0.1", 2, 0, "not HOST:PORT"), ("127.0.0.1:1", 2, 2, "--host=2"), ("127.0.0.1:1", 2, -1, "--host=-1")],
)
def test_a_wrong_place_is_one_line(address, count, index, said):
    with pytest.raises(ValueError, match=said):
        joining.join(address, count, index, 1.0, 1.0)


def test_nothing_says_which_hosts_there_are():
    code = "from selfexec_jax.hosts import joining; joining.where()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert "ValueError: --hosts=auto: nothing here says which hosts there are" in done.stderr


@pytest.mark.parametrize(
    ("ends", "index", "code"),
    [
        ("sys.exit(3)", 1, 3),
        ("os.abort()", 1, EXIT_CODE),  # as JAX does where the coordinator is gone
        ("os.abort()", 0, 134),  # the coordinator is here: this is another error
        ("os.kill(os.getpid(), signal.SIGTERM)", 0, EXIT_CODE),
        ("os.kill(os.getpid(), signal.SIGKILL)", 1, 137),
    ],
)
def test_a_parent_gives_the_exit_code_that_a_launcher_understands(ends, index, code):
    script = (
        "import sys; from selfexec_jax.hosts import supervising;"
        f"sys.exit(supervising.supervise([sys.executable, '-c', 'import os, signal, sys; {ends}'], {index}))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=100).returncode == code


def test_a_parent_hands_on_what_it_is_asked_and_is_not_outlived(tmp_path):
    child = "import os, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); print(os.getpid(), flush=True); time.sleep(60)"  # noqa: E501
    script = f"import sys; from selfexec_jax.hosts import supervising; sys.exit(supervising.supervise([sys.executable, '-c', {child!r}], 0))"  # noqa: E501
    assert not supervising.is_supervised()
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    parent.stdout.readline()
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(30) == EXIT_CODE
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while time.monotonic() < until and _is_alive(pid):
        time.sleep(0.05)
    assert not _is_alive(pid)


def _is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
