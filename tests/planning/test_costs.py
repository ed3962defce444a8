"""Texts of compiled programs: loops, products as TPUs write them, groups of devices, bytes that move."""

import itertools

import numpy as np
import pytest

from selfexec_jax.planning.chips import slice_named
from selfexec_jax.planning.costs import costs_of
from selfexec_jax.planning.hlo import Instruction, groups_of, parse, size_of

V5P = slice_named("v5p:4x4x4")
PLACES = list(itertools.product(range(4), range(4), range(4)))
PROGRAM = """
HloModule jit_step

%fused.1 (a: bf16[4,8,16], b: s32[]) -> bf16[8,16] {
  %a = bf16[4,8,16]{2,1,0} parameter(0)
  %b = s32[] parameter(1)
  %zero = s32[] constant(0)
  %one = bf16[1,8,16]{2,1,0} dynamic-slice(%a, %b, %zero, %zero), dynamic_slice_sizes={1,8,16}
  ROOT %flat = bf16[8,16]{1,0} bitcast(%one)
}

%fused.2 (x: bf16[32,8], y: bf16[8,16]) -> bf16[32,16] {
  %x = bf16[32,8]{1,0} parameter(0)
  %y = bf16[8,16]{1,0} parameter(1)
  ROOT %product = bf16[32,16]{1,0} convolution(%x, %y), dim_labels=bf_io->bf
}

%body (p: (s32[], bf16[32,8], bf16[4,8,16])) -> (s32[], bf16[32,8], bf16[4,8,16]) {
  %p = (s32[], bf16[32,8]{1,0}, /*index=2*/bf16[4,8,16]{2,1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %h = bf16[32,8]{1,0} get-tuple-element(%p), index=1
  %w = bf16[4,8,16]{2,1,0} get-tuple-element(%p), index=2
  %two = s32[] constant(2)
  %next = s32[] add(%i, %two)
  %layer = bf16[8,16]{1,0} fusion(%w, %i), kind=kLoop, calls=%fused.1
  %out = bf16[32,16]{1,0} fusion(%h, %layer), kind=kOutput, calls=%fused.2
  %sum = bf16[32,16]{1,0} all-reduce(%out), replica_groups=[16,4]<=[64], to_apply=%add
  ROOT %t = (s32[], bf16[32,8]{1,0}, bf16[4,8,16]{2,1,0}) tuple(%next, %h, %w)
}

%condition (p: (s32[], bf16[32,8], bf16[4,8,16])) -> pred[] {
  %q = (s32[], bf16[32,8]{1,0}, bf16[4,8,16]{2,1,0}) parameter(0)
  %n = s32[] get-tuple-element(%q), index=0
  %end = s32[] constant(6)
  ROOT %less = pred[] compare(%n, %end), direction=LT
}

ENTRY %main (h: bf16[32,8], w: bf16[4,8,16]) -> bf16[32,8] {
  %h0 = bf16[32,8]{1,0} parameter(0)
  %w0 = bf16[4,8,16]{2,1,0} parameter(1)
  %start = s32[] constant(0)
  %begin = (s32[], bf16[32,8]{1,0}, bf16[4,8,16]{2,1,0}) tuple(%start, %h0, %w0)
  %loop = (s32[], bf16[32,8]{1,0}, bf16[4,8,16]{2,1,0}) while(%begin), condition=%condition, body=%body
  ROOT %r = bf16[32,8]{1,0} get-tuple-element(%loop), index=1
}
"""


def test_a_loop_counts_as_often_as_it_goes_round():
    costs = costs_of(parse(PROGRAM), V5P, PLACES)
    assert costs.flops == 3 * 2 * 32 * 8 * 16  # 0, 2, 4
    one = 2 * 8 * 16 * 2 + 4  # the slice of the stacked weights, read and written, and its index
    product = 2 * (32 * 8 + 8 * 16 + 32 * 16)
    assert costs.memory_bytes == 3 * (one + product + 3 * 4)  # and the counter
    whole = 2 * 32 * 16
    assert costs.sent == {"all-reduce": 3 * 2 * whole * 3 / 4}
    # Four devices that follow each other lie along the last axis, a ring: both directions carry half.
    assert costs.network_s == pytest.approx(3 * whole * 3 / 4 / V5P.chip.link_bandwidth)
    assert costs.exposed_s == costs.network_s and costs.busy_s >= max(costs.compute_s, costs.memory_s)


def convolution(left, right, labels, window, out):
    text = f"""
HloModule m

ENTRY %main (a: bf16[1], b: bf16[1]) -> bf16[1] {{
  %a = bf16[{left}]{{0}} parameter(0)
  %b = bf16[{right}]{{0}} parameter(1)
  ROOT %c = bf16[{out}]{{0}} convolution(%a, %b), window={{{window}}}, dim_labels={labels}
}}
"""
    return costs_of(parse(text), V5P, PLACES).flops


def test_products_as_tpus_write_them():
    plain = convolution("8192,3584", "3584,4736", "bf_io->bf", "", "8192,4736")
    assert plain == 2 * 8192 * 3584 * 4736
    # Two pieces of what is summed over, as a window of two.
    assert convolution("64,2,32", "16,2,32", "b0f_o0i->bf0", "size=2", "64,16,1") == 2 * 64 * 2 * 32 * 16
    # Heads as a window that is padded so that each output has one tap inside; the other axis is summed over.
    window = "size=7x2 pad=6_6x0_0 rhs_reversal=1x0"
    found = convolution("64,2,32,1", "7,16,2,32", "b1f0_0o1i->b0f1", window, "64,7,16,1")
    assert found == 2 * 64 * 7 * 16 * 2 * 32


@pytest.mark.parametrize(
    "text, first, n",
    [("replica_groups={{0,2},{1,3}}", [0, 2], 2), ("replica_groups=[2,4]<=[8]", [0, 1, 2, 3], 2),
     ("replica_groups=[2,4]<=[4,2]T(1,0)", [0, 2, 4, 6], 2),
     ("replica_groups=mesh['a'=4,'b'=2] {'a'}", [0, 2, 4, 6], 2),
     ("replica_groups=mesh['a'=2,'b'=2,'c'=2] {'a','c'}", [0, 1, 4, 5], 2),
     ("replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}", [0, 2, 4, 6], 2),
     ("source_target_pairs={{0,1},{1,2},{2,0}}", [0, 1], 3)],
)  # fmt: skip
def test_groups_of_devices(text, first, n):
    groups = groups_of(Instruction("x", "f32[]", "all-reduce", (), f"%y), {text}, use_global_device_ids=true"))
    assert groups[0] == first and len(groups) == n


def test_sizes():
    assert size_of("(bf16[2,3]{1,0:T(8,128)(2,1)}, f32[]{:T(128)}, u32[4]{0:S(2)})") == 12 + 4
    assert size_of("bf16[2,3]{1,0:T(8,128)(2,1)S(1)}") == 0 and size_of("bf16[2,3]{1,0:S(1)}", True) == 12


def sent_on_links(kind, members, size):
    ids = ",".join(map(str, members))
    text = f"""
HloModule m

ENTRY %main (a: bf16[{size}]) -> bf16[{size}] {{
  %a = bf16[{size}]{{0}} parameter(0)
  ROOT %c = bf16[{size}]{{0}} {kind}(%a), replica_groups={{{{{ids}}}}}
}}
"""
    return costs_of(parse(text), V5P, PLACES).network_s * V5P.chip.link_bandwidth / (2 * size)


def test_where_bytes_travel():
    at = {place: i for i, place in enumerate(PLACES)}
    ring = [at[0, 0, z] for z in range(4)]
    assert sent_on_links("reduce-scatter", ring, 1000) == pytest.approx(3 / 4 / 2)
    pair = [at[0, 0, 0], at[0, 0, 1]]  # no ring: one link
    assert sent_on_links("reduce-scatter", pair, 1000) == pytest.approx(1 / 2)
    plane = [at[0, y, z] for y in range(4) for z in range(4)]  # over both axes, both ways
    assert sent_on_links("reduce-scatter", plane, 1000) == pytest.approx(15 / 16 / 4)
    assert sent_on_links("all-gather", ring, 1000) == pytest.approx(4 * 3 / 4 / 2)  # of what is gathered
    assert np.isclose(sent_on_links("all-reduce", ring, 1000), 2 * 3 / 4 / 2)


def test_a_collective_begun_inside_a_fusion_sends_what_goes_in_not_what_comes_out():
    text = """
HloModule m

%start (p: bf16[1,16]) -> (bf16[1,16], bf16[64,16], s32[2]) {
  %p = bf16[1,16]{1,0} parameter(0)
  %g = bf16[64,16]{1,0} all-gather(%p), replica_groups=[1,64]<=[64], dimensions={0}
  ROOT %s = (bf16[1,16]{1,0}, bf16[64,16]{1,0}, s32[2]{0}) custom-call(%g), custom_call_target="AsyncCollectiveStart"
}

ENTRY %main (a: bf16[1,16]) -> (bf16[1,16], bf16[64,16], s32[2]) {
  %a = bf16[1,16]{1,0} parameter(0)
  ROOT %async-collective-start = (bf16[1,16]{1,0}, bf16[64,16]{1,0}, s32[2]{0}) fusion(%a), calls=%start
}
"""
    costs = costs_of(parse(text), V5P, PLACES)
    assert costs.sent == {"all-gather": 63 * 16 * 2} and costs.exposed_s == 0
