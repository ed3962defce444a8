"""Tests that compile for TPUs: they need the compiler, and no TPU."""

import importlib.util

import pytest

needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="pip install libtpu")
