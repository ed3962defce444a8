"""Files of tensors in the safetensors format, read and written a tensor at a time, on a disk or in a bucket.

A file is eight bytes of length, a JSON header (name -> dtype, shape, place), and the tensors' bytes. The library of
that name reads whole files from disks; here a tensor is fetched by its place, from wherever fsspec reaches.
"""

from __future__ import annotations

import dataclasses
import json
import math
import posixpath

import fsspec
import ml_dtypes
import numpy as np

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "I64": np.int64,
          "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_}  # fmt: skip
_CODES = {np.dtype(dtype): code for code, dtype in DTYPES.items()}
_LONGEST_HEADER = 100 << 20  # bytes, as the library has it


class TensorFileError(ValueError):
    """A file that is not what it should be; one line naming file and tensor."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where a tensor lies: bytes `start` to `end` of a file."""

    path: str
    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    start: int
    end: int

    def read(self) -> np.ndarray:
        """The tensor. Raises TensorFileError where the file has changed or cannot be read."""
        fs, place = fsspec.core.url_to_fs(self.path)
        try:
            data = fs.cat_file(place, self.start, self.end)
        except OSError as error:
            raise TensorFileError(f"{self.path}: {self.name}: cannot be read: {error}") from None
        if len(data) != self.end - self.start:
            raise TensorFileError(f"{self.path}: {self.name}: the file ends before it does; fetch the file again")
        return np.frombuffer(data, self.dtype).reshape(self.shape)


def entries(folder: str) -> dict[str, Entry]:
    """The tensors of a checkpoint: of `model.safetensors`, or of all files that `model.safetensors.index.json` names.

    Raises TensorFileError for a folder without either, a file that is missing, cut short or no safetensors, and a
    tensor that the index places in a file that lacks it.
    """
    fs, root = fsspec.core.url_to_fs(folder)
    index = posixpath.join(root, "model.safetensors.index.json")
    if not fs.exists(index):
        if not fs.exists(posixpath.join(root, "model.safetensors")):
            raise TensorFileError(f"{folder}: holds neither model.safetensors nor model.safetensors.index.json")
        return _entries(posixpath.join(folder, "model.safetensors"))
    try:
        places = json.loads(fs.cat_file(index))["weight_map"]
        files = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise TensorFileError(f"{index}: not an index (JSON with weight_map)") from None
    found = {}
    for file in files:
        found |= {name: e for name, e in _entries(posixpath.join(folder, file)).items() if places.get(name) == file}
    lost = next((name for name in places if name not in found), None)
    if lost is not None:
        raise TensorFileError(f"{posixpath.join(folder, places[lost])}: {lost}: not there, but the index says so")
    return found


def _entries(path: str) -> dict[str, Entry]:
    fs, place = fsspec.core.url_to_fs(path)
    try:
        size = fs.size(place)
        length = int.from_bytes(fs.cat_file(place, 0, 8), "little")
        if not 2 <= length <= min(_LONGEST_HEADER, size - 8):
            raise TensorFileError(f"{path}: its header does not fit; the file is cut short or no safetensors file")
        header = json.loads(fs.cat_file(place, 8, 8 + length))
    except FileNotFoundError:
        raise TensorFileError(f"{path}: no such file") from None
    except OSError as error:
        raise TensorFileError(f"{path}: cannot be read: {error}") from None
    except ValueError as error:
        if isinstance(error, TensorFileError):
            raise
        raise TensorFileError(f"{path}: its header is no JSON; no safetensors file") from None
    header.pop("__metadata__", None)
    found = {}
    for name, row in header.items():
        try:
            code, shape, (start, end) = row["dtype"], tuple(row["shape"]), row["data_offsets"]
        except (KeyError, TypeError, ValueError):
            raise TensorFileError(f"{path}: {name}: its header lacks dtype, shape or data_offsets") from None
        if code not in DTYPES:
            raise TensorFileError(f"{path}: {name}: dtype {code} is not read; convert it to BF16, F16 or F32")
        dtype = np.dtype(DTYPES[code])
        if end - start != dtype.itemsize * math.prod(shape):
            raise TensorFileError(f"{path}: {name}: {end - start} bytes are no {code} of shape {list(shape)}")
        if 8 + length + end > size:
            raise TensorFileError(f"{path}: {name}: the file ends before it does; fetch the file again")
        found[name] = Entry(path, name, dtype, shape, 8 + length + start, 8 + length + end)
    return found


def write(path: str, shapes: dict[str, tuple[int, ...]], dtype: np.dtype, tensors) -> None:
    """Writes a file of `tensors`, an iterator over arrays in the order of `shapes`, holding one at a time."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        end = at + np.dtype(dtype).itemsize * math.prod(shape)
        header[name] = {"dtype": _CODES[np.dtype(dtype)], "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors begin at a multiple of eight
    with fsspec.open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for (name, shape), tensor in zip(shapes.items(), tensors, strict=True):
            if tensor.shape != shape or tensor.dtype != dtype:
                raise ValueError(f"{path}: {name}: {tensor.dtype} {tensor.shape}, not {dtype} {shape}")
            out.write(np.ascontiguousarray(tensor).view(np.uint8).data)
