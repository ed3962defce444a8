import pytest

from selfexec_jax.planning.chips import CHIPS, slice_named


@pytest.mark.parametrize(
    "name, topology, chips, accelerator",
    [("v5p-128", "v5p:4x4x4", 64, "v5p-128"), ("v5p:4x4x4", "v5p:4x4x4", 64, "v5p-128"),
     ("v5p-512", "v5p:4x8x8", 256, "v5p-512"), ("v4-8", "v4:2x2x1", 4, "v4-8"),
     ("v5litepod-64", "v5e:8x8", 64, "v5litepod-64"), ("v5e-64", "v5e:8x8", 64, "v5litepod-64"),
     ("v6e-32", "v6e:4x8", 32, "v6e-32"), ("v6e:16x16", "v6e:16x16", 256, "v6e-256")],
)  # fmt: skip
def test_names_of_slices(name, topology, chips, accelerator):
    found = slice_named(name)
    assert (found.topology, found.n_chips, found.accelerator) == (topology, chips, accelerator)


@pytest.mark.parametrize("name", ["v5p-100", "v5p-9", "v5p:4x4", "h100-8", "v6e", "v5p:4x4x"])
def test_what_is_no_slice_says_what_there_is(name):
    with pytest.raises(ValueError, match=r"no such slice; of 64 chips there are .*v5p:4x4x4 = v5p-128"):
        slice_named(name)


def test_chips_are_what_their_maker_says():
    """Arithmetic a byte of memory, and aggregate bandwidth of the links, GB/s both ways, as published."""
    assert {name: round(c.bf16_flops / c.memory_bandwidth) for name, c in CHIPS.items()} == {
        "v4": 224, "v5e": 241, "v5p": 166, "v6e": 560,
    }  # fmt: skip
    published = {"v4": 300, "v5e": 200, "v5p": 600, "v6e": 448}
    assert {name: c.link_bandwidth * 2 * c.axes / 1e9 for name, c in CHIPS.items()} == published
