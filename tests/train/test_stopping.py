"""A run that is asked to end does."""

import subprocess
import sys

LOST = """
import gc, os, signal, time
from selfexec_jax.train import stopping

def callback(*_):
    gc.callbacks.remove(callback)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.01)

stopping.listen()
gc.callbacks.append(callback)
try:
    gc.collect()  # what a callback raises goes no further
    print("went on", flush=True)
    time.sleep(30)
except stopping.Stopped:
    print("ended")
"""


def test_a_signal_while_garbage_is_collected_is_not_lost():
    done = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, timeout=25)
    assert (done.stdout, done.stderr) == ("went on\nended\n", "")
