"""Memory, spaces, constants, atomics, asynchronous copies and device functions."""

import numpy as np
import pytest
from emulator.ptx import compute, kernel, launch

from gncodegen.emulator import DeviceMemory, EmulationFault, Executable, run


def same(found, wanted):
    np.testing.assert_array_equal(found, wanted, strict=True)


def test_allocations_are_apart_and_come_back():
    memory = DeviceMemory(capacity=512)
    first, second = memory.allocate(100, "first"), memory.allocate(3000, "second")
    assert first % 256 == second % 256 == 0
    assert second >= first + 256 + 100
    memory.write(second, np.arange(750, dtype=np.int32))
    same(memory.read(second + 8, (2, 3), np.int32), np.arange(2, 8, dtype=np.int32).reshape(2, 3))
    memory.free(first)
    assert memory.allocate(90) == first
    with pytest.raises(EmulationFault, match="leaves second"):
        memory.read(second, 751, np.int32)
    with pytest.raises(EmulationFault, match="no allocation starts there"):
        memory.free(second + 4)
    memory.free(second)
    with pytest.raises(EmulationFault, match="no allocation"):
        memory.write(second, np.zeros(1))


def test_vectors():
    body = """mul.wide.u32 %rd1, %t, 16;
    add.s64 %rd2, %rd1, %x0;
    add.s64 %rd3, %rd1, %x1;
    ld.global.nc.L1::no_allocate.v4.f32 {%f1, %f2, %f3, %f4}, [%rd2];
    st.global.v2.f32 [%rd3], {%f4, %f3};
    st.global.v2.f32 [%rd3+8], {%f2, %f1};"""
    values = np.arange(128, dtype=np.float32)
    same(launch(body, values, (128, np.float32))[1], values.reshape(-1, 4)[:, ::-1].reshape(-1))


def test_bytes_and_signs():
    body = """cvt.u64.u32 %rd1, %t;
    add.s64 %rd2, %rd1, %x0;
    ld.global.s8 %r1, [%rd2];
    ld.global.u8 %h1, [%rd2];
    cvt.u32.u16 %r2, %h1;
    add.s32 %r1, %r1, %r2;
    mul.wide.u32 %rd3, %t, 4;
    add.s64 %rd3, %rd3, %x1;
    st.global.u32 [%rd3], %r1;
    st.global.u8 [%rd2], %r2;"""
    values = np.random.default_rng(0).integers(-128, 128, 32).astype(np.int8)
    kept, sums = launch(body, values, (32, np.int32))
    same(kept, values)
    same(sums, values.astype(np.int32) + values.view(np.uint8))


def test_shared_generic_and_dynamic():
    variables = ".shared .align 16 .b8 fixed[128];\n.extern .shared .align 16 .b8 grown[];"
    body = """mov.u64 %rd1, grown;
    mul.wide.u32 %rd2, %t, 4;
    add.s64 %rd3, %rd1, %rd2;
    cvta.shared.u64 %rd4, %rd3;
    st.u32 [%rd4], %i;
    mov.u32 %r9, fixed;
    cvt.u32.u64 %r8, %rd2;
    add.u32 %r9, %r9, %r8;
    st.shared.u32 [%r9], 1;
    bar.sync 0;
    ld.shared.u32 %r3, [%r9];
    sub.u32 %r1, 31, %t;
    mul.wide.u32 %rd5, %r1, 4;
    add.s64 %rd5, %rd5, %rd1;
    ld.shared.u32 %r2, [%rd5];
    add.u32 %r2, %r2, %r3;
    mul.wide.u32 %rd6, %i, 4;
    add.s64 %rd6, %rd6, %x0;
    st.global.u32 [%rd6], %r2;"""
    (found,) = launch(body, (96, np.uint32), grid=3, variables=variables, dynamic_shared=128)
    same(found, np.concatenate([np.arange(32)[::-1] + 32 * b + 1 for b in range(3)]).astype(np.uint32))


def test_shared_addresses_have_32_bits():
    body = """shl.b32 %r2, %t, 2;
    mov.u32 %r1, tile;
    sub.u32 %r3, %r1, %r2;
    st.shared.u32 [%r3+124], %t;
    bar.sync 0;
    add.u32 %r3, %r1, %r2;
    ld.shared.u32 %r4, [%r3];
    mul.wide.u32 %rd1, %t, 4;
    add.s64 %rd1, %rd1, %x0;
    st.global.u32 [%rd1], %r4;"""
    (found,) = launch(body, (32, np.uint32), variables=".shared .align 4 .b8 tile[128];")
    same(found, np.arange(32, dtype=np.uint32)[::-1])


def test_local_and_constants():
    variables = (
        ".const .align 4 .b8 table[16] = {0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 64, 64, 0, 0, 128, 64};\n"
        ".global .align 4 .f32 more[4] = {0f41200000, 0f41A00000, 0f41F00000, 0f42200000};"
    )
    body = """.local .align 16 .b8 depot[16];
    mov.u64 %rd1, depot;
    and.b32 %r1, %t, 3;
    mul.wide.u32 %rd2, %r1, 4;
    add.s64 %rd3, %rd1, %rd2;
    cvta.local.u64 %rd3, %rd3;
    mov.u64 %rd4, table;
    add.s64 %rd5, %rd4, %rd2;
    ld.const.f32 %f1, [%rd5];
    mov.u64 %rd6, more;
    add.s64 %rd6, %rd6, %rd2;
    ld.global.nc.f32 %f2, [%rd6];
    add.f32 %f1, %f1, %f2;
    st.f32 [%rd3], %f1;
    add.s64 %rd7, %rd1, %rd2;
    ld.local.f32 %f3, [%rd7];
    mul.wide.u32 %rd8, %t, 4;
    add.s64 %rd8, %rd8, %x0;
    st.global.f32 [%rd8], %f3;"""
    (found,) = launch(body, (32, np.float32), variables=variables)
    same(found, np.tile(np.float32([11, 22, 33, 44]), 8))


def test_parameters_of_every_kind():
    text = kernel(
        """ld.param.u64 %rd1, [out];
        ld.param.f32 %f1, [scale];
        ld.param.u32 %r1, [count];
        ld.param.f64 %fd1, [wide];
        cvt.rn.f32.u32 %f2, %r1;
        cvt.rn.f32.f64 %f3, %fd1;
        fma.rn.f32 %f1, %f1, %f2, %f3;
        mul.wide.u32 %rd2, %t, 4;
        add.s64 %rd1, %rd1, %rd2;
        st.global.f32 [%rd1], %f1;""",
        [("u64", "out"), ("f32", "scale"), ("u32", "count"), ("f64", "wide")],
    )
    memory = DeviceMemory()
    out = memory.allocate(4)
    run(Executable(text), grid=1, block=1, arguments=[out, 2.5, np.uint32(4), 0.5], memory=memory)
    same(memory.read(out, 1, np.float32), np.float32([10.5]))
    with pytest.raises(EmulationFault, match="3 arguments for 4 parameters"):
        run(Executable(text), grid=1, block=1, arguments=[out, 2.5, 4], memory=memory)


def test_atomics():
    body = """mul.wide.u32 %rd1, %t, 4;
    add.s64 %rd2, %rd1, %x1;
    and.b32 %r1, %t, 3;
    mul.wide.u32 %rd3, %r1, 4;
    add.s64 %rd3, %rd3, %x0;
    atom.global.add.u32 %r2, [%rd3], 1;
    st.global.u32 [%rd2], %r2;
    red.global.max.u32 [%x0+16], %t;
    atom.global.cas.b32 %r3, [%x0+20], 0, 99;
    atom.global.exch.b32 %r3, [%x0+24], %t;
    cvt.rn.f32.u32 %f1, %t;
    red.global.add.f32 [%x0+28], %f1;"""
    counters, before = launch(body, np.zeros(8, np.uint32), (32, np.uint32))
    same(counters[:7], np.uint32([8, 8, 8, 8, 31, 99, 31]))
    same(counters[7:].view(np.float32), np.float32([496]))
    same(before, np.arange(32, dtype=np.uint32) // 4)


COPY = """mov.u32 %r1, tile;
    mad.lo.u32 %r1, %t, 16, %r1;
    mul.wide.u32 %rd1, %t, 16;
    add.s64 %rd2, %rd1, %x0;
    cp.async.cg.shared.global [%r1], [%rd2], 16SIZE;
    cp.async.commit_group;
    WAIT
    bar.sync 0;
    xor.b32 %r2, %t, 1;
    mov.u32 %r3, tile;
    mad.lo.u32 %r3, %r2, 16, %r3;
    ld.shared.v4.u32 {%r4, %r5, %r6, %r7}, [%r3];
    add.s64 %rd3, %rd1, %x1;
    st.global.v4.u32 [%rd3], {%r4, %r5, %r6, %r7};"""
TILE = ".shared .align 16 .b8 tile[512];"


def test_asynchronous_copy():
    values = np.arange(128, dtype=np.uint32)
    body = COPY.replace("SIZE", "").replace("WAIT", "cp.async.wait_group 0;")
    wanted = values.reshape(-1, 2, 4)[:, ::-1].reshape(-1)
    same(launch(body, values, (128, np.uint32), variables=TILE)[1], wanted)
    body = COPY.replace("SIZE", ", %r9").replace("WAIT", "cp.async.wait_all;")
    body = f"setp.lt.u32 %p1, %t, 16;\nselp.u32 %r9, 16, 4, %p1;\n{body}"
    found = launch(body, values, (128, np.uint32), variables=TILE)[1]
    partly = values.reshape(32, 4).copy()
    partly[16:, 1:] = 0
    same(found, partly.reshape(-1, 2, 4)[:, ::-1].reshape(-1))


def test_a_copy_without_its_wait_is_found():
    values = np.arange(128, dtype=np.uint32)
    body = COPY.replace("SIZE", "").replace("WAIT", "cp.async.wait_group 1;")
    with pytest.raises(EmulationFault, match="read before it is written: shared byte"):
        launch(body, values, (128, np.uint32), variables=TILE)


def test_device_functions():
    function = """.func (.param .b32 func_retval0) twice(.param .b32 twice_param_0, .param .b64 twice_param_1)
    {
    .reg .f32 %f<4>;
    .reg .pred %p<2>;
    ld.param.f32 %f1, [twice_param_0];
    setp.lt.f32 %p1, %f1, 0f00000000;
    @%p1 bra NEGATIVE;
    add.f32 %f2, %f1, %f1;
    st.param.f32 [func_retval0+0], %f2;
    ret;
    NEGATIVE:
    st.param.f32 [func_retval0+0], %f1;
    ret;
    }"""
    body = """mov.u64 %rd1, 0;
    mov.f32 %f1, %a0;
    {
    .reg .b32 temporary;
    .param .b32 param0;
    st.param.f32 [param0+0], %f1;
    .param .b64 param1;
    st.param.b64 [param1+0], %rd1;
    .param .b32 retval0;
    call.uni (retval0),
    twice,
    (
    param0,
    param1
    );
    ld.param.f32 %f2, [retval0+0];
    }"""
    values = np.arange(-16, 16, dtype=np.float32)
    load = "mul.wide.u32 %rd5, %t, 4;\nadd.s64 %rd6, %rd5, %x0;\nadd.s64 %rd7, %rd5, %x1;\nld.global.f32 %a0, [%rd6];\n"
    twice = body + body.replace("%a0", "%f2")
    found = launch(f"{load}{twice}\nst.global.f32 [%rd7], %f2;", values, (32, np.float32), registers=[("f32", "%a0")],
                   variables=function)[1]  # fmt: skip
    same(found, np.where(values < 0, values, 4 * values))


def test_scoped_names_of_inline_assembly():
    body = """mov.u32 %r1, %a0;
    {
    .reg .u32 %r1;
    .reg .pred p;
    mov.u32 %r1, 5;
    setp.gt.u32 p, %a0, 8;
    @p bra AGAIN;
    add.u32 %r2, %r1, %a0;
    AGAIN:
    @p mov.u32 %r2, %r1;
    }
    add.u32 %d0, %r1, %r2;"""
    values = np.arange(16, dtype=np.uint32)
    same(compute(body, [values], "u4"), np.where(values > 8, values + 5, 2 * values + 5).astype(np.uint32))


def test_lanes_choose_among_parameters():
    body = """mov.b64 %rd4, x0;
    mov.b64 %rd5, x1;
    setp.lt.u32 %p1, %t, 16;
    selp.b64 %rd6, %rd4, %rd5, %p1;
    ld.param.b64 %rd7, [%rd6];
    mul.wide.u32 %rd1, %i, 4;
    add.s64 %rd7, %rd7, %rd1;
    ld.global.u32 %d0, [%rd7];"""
    ones, twos = np.full(32, 1, np.uint32), np.full(32, 2, np.uint32)
    found = compute(body, [ones, twos], "u4")
    np.testing.assert_array_equal(np.ravel(found), np.where(np.arange(32) < 16, 1, 2))
