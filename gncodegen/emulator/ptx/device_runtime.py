"""The functions of CUDA's device runtime library that compilers leave open and PTX can say: the barrier of a grid."""

from __future__ import annotations

LIBRARY = """
.visible .func (.param .b64 found) cudaCGGetIntrinsicHandle(.param .b32 scope)
{
.reg .b32 %high, %low;
.reg .b64 %workspace;
mov.u32 %high, %envreg1;
mov.u32 %low, %envreg2;
mov.b64 %workspace, {%low, %high};
st.param.b64 [found+0], %workspace;
ret;
}
.visible .func (.param .b32 status) cudaCGSynchronize(.param .b64 handle, .param .b32 flags)
{
.reg .pred %first, %other, %waits;
.reg .b32 %x, %y, %z, %blocks, %step, %before, %now;
.reg .b64 %workspace;
ld.param.b64 %workspace, [handle+0];
setp.eq.u64 %other, %workspace, 0;
@%other trap;
barrier.sync 0;
mov.u32 %x, %tid.x;
mov.u32 %y, %tid.y;
mov.u32 %z, %tid.z;
or.b32 %x, %x, %y;
or.b32 %x, %x, %z;
setp.ne.u32 %other, %x, 0;
@%other bra passed;
mov.u32 %blocks, %nctaid.x;
mov.u32 %y, %nctaid.y;
mov.u32 %z, %nctaid.z;
mul.lo.u32 %blocks, %blocks, %y;
mul.lo.u32 %blocks, %blocks, %z;
mov.u32 %x, %ctaid.x;
mov.u32 %y, %ctaid.y;
mov.u32 %z, %ctaid.z;
or.b32 %x, %x, %y;
or.b32 %x, %x, %z;
setp.eq.u32 %first, %x, 0;
sub.u32 %step, 0x80000001, %blocks;
selp.u32 %step, %step, 1, %first;
fence.acq_rel.gpu;
atom.global.add.u32 %before, [%workspace], %step;
wait:
ld.volatile.global.u32 %now, [%workspace];
xor.b32 %now, %now, %before;
and.b32 %now, %now, 0x80000000;
setp.eq.u32 %waits, %now, 0;
@%waits bra wait;
fence.acq_rel.gpu;
passed:
barrier.sync 0;
st.param.b32 [status+0], 0;
ret;
}
"""
"""Each block adds 1 to a counter, the first as much as turns its top bit when all have come."""
