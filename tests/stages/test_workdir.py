import errno
import os

import pytest

from selfexec_jax.stages.workdir import Workdir, write_whole


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    write_whole(path, b"old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device; nothing of it was written: .*report\.json"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["report.json"]


def test_rows_are_the_same_bytes_for_the_same_rows(tmp_path):
    workdir = Workdir(tmp_path)
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        workdir.write_rows(tmp_path / name, [{"x": 1}, {"x": "é"}])
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert workdir.read_rows(tmp_path / "a.jsonl.gz") == [{"x": 1}, {"x": "é"}]
