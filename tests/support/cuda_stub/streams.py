"""Streams, events and graphs: what is asked for runs as late as its order allows, when somebody waits for it."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.cuda_stub.abi import ADDRESS, HANDLE, INT, UNSIGNED, Status, StatusError, entry, put

if TYPE_CHECKING:
    from support.cuda_stub.driver import Driver

LEGACY, PER_THREAD = 1, 2
NONBLOCKING = 1
DISABLE_TIMING = 2
GLOBAL = 0


@dataclass
class Use:
    """What an operation does to memory.

    Args:
        address: anywhere in the allocation.
        writes: whether it may change it.
        nbytes: from the address on, where the operation touches nothing else; 0 = anything in the allocation.
    """

    address: int
    writes: bool
    nbytes: int = 0

    def meets(self, other: Use) -> bool:
        """Whether two uses of one allocation must be ordered.

        A kernel's buffer, whose size nobody knows here, starts at its address, and buffers do not overlap.
        """
        if not self.writes and not other.writes:
            return False
        if not self.nbytes and not other.nbytes:
            return True
        ends = [use.address + max(use.nbytes, 1) for use in (self, other)]
        return self.address < ends[1] and other.address < ends[0]


@dataclass(eq=False)
class Operation:
    """Work in a stream.

    Args:
        action: does it.
        uses: the memory it touches.
        what: for faults.
        after: operations that come before it.
        stream: that it was asked for in.
    """

    action: Callable[[], None]
    uses: tuple[Use, ...] = ()
    what: str = ""
    after: tuple[Operation, ...] = ()
    stream: Stream | None = None
    done: bool = False

    def ancestors(self) -> Iterator[Operation]:
        """All operations before it that are not done."""
        seen, found = {id(self)}, [self]
        while found:
            for each in found.pop().after:
                if not each.done and id(each) not in seen:
                    seen.add(id(each))
                    found.append(each)
                    yield each


@dataclass(eq=False)
class Capture:
    """A graph under way."""

    mode: int
    graph: int
    nodes: list[Operation]
    broken: bool = False


@dataclass(eq=False)
class Stream:
    """One stream.

    Args:
        name: for faults.
        blocking: whether it is ordered with the legacy default stream.
        device: number of its GPU.
    """

    name: str
    blocking: bool
    device: int
    last: Operation | None = None
    capture: Capture | None = None


@dataclass(eq=False)
class Event:
    """A point in a stream; its time is the number of kernels that ended before."""

    timed: bool
    operation: Operation | None = None
    time: int = 0

    def pass_at(self, time: int) -> None:
        """Work before it is done."""
        self.time = time


@dataclass(eq=False)
class Graph:
    """What a capture found, or its executable; it holds `objects`."""

    nodes: list[Operation]
    objects: list[Any] = field(default_factory=list)


class Streams:
    """Entry points of streams, events, capture and graphs."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._default: dict[tuple[int, int], Stream] = {}
        self.all: list[Stream] = []

    # ---- the order of work -----------------------------------------------------------------------------------------

    def of(self, handle: int) -> Stream:
        """The stream of a handle; the default streams are those of the calling thread's GPU."""
        if handle > PER_THREAD:
            return self._driver.find(handle, Stream)
        device = self._driver.devices.current()
        key = (device, threading.get_ident() if handle == PER_THREAD else 0)
        if key not in self._default:
            name = "the per-thread default stream" if handle == PER_THREAD else "the legacy default stream"
            self._default[key] = Stream(name, handle == PER_THREAD, device)
            self.all.append(self._default[key])
        return self._default[key]

    def open(self, device: int, *, blocking: bool) -> int:
        """The handle of a new stream."""
        stream = Stream("", blocking, device)
        handle = self._driver.register(stream)
        stream.name = f"stream {handle:#x}"
        self.all.append(stream)
        return handle

    def submit(self, handle: int, action: Callable[[], None], what: str, *uses: Use) -> Operation:
        """Puts work in a stream, or in the graph that the stream is captured for."""
        stream = self.of(handle)
        self._driver.memory.check_device(stream, what, uses)
        if stream.capture is not None:
            operation = Operation(action, uses, what)
            stream.capture.nodes.append(operation)
            return operation
        legacy = self._default.get((stream.device, 0))
        if legacy is not None and legacy is stream:
            before = [
                each.last for each in self.all if each.device == stream.device and (each.blocking or each is stream)
            ]
        else:
            before = [stream.last, legacy.last if legacy is not None and stream.blocking else None]
        after = tuple(each for each in before if each is not None and not each.done)
        operation = Operation(action, uses, what, after, stream)
        self._driver.memory.check_order(operation)
        stream.last = operation
        return operation

    def finish(self, operation: Operation | None) -> None:
        """Runs an operation and what comes before it."""
        stack = [operation] if operation is not None else []
        while stack:
            top = stack[-1]
            waiting = [] if top.done else [each for each in top.after if not each.done]
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            if not top.done:
                top.done, top.after = True, ()
                self._driver.attempt(top)

    def finish_all(self) -> None:
        """Runs everything."""
        for stream in self.all:
            self.finish(stream.last)

    def unsafe(self) -> None:
        """What a call that may wait for the whole device does to captures: a global one forbids it."""
        for stream in self.all:
            if stream.capture is not None and stream.capture.mode == GLOBAL:
                stream.capture.broken = True
                raise StatusError(Status.STREAM_CAPTURE_UNSUPPORTED)

    # ---- streams ---------------------------------------------------------------------------------------------------

    @entry("cuStreamCreateWithPriority", ADDRESS, UNSIGNED, INT)
    def create(self, out: int, flags: int, priority: int) -> None:
        put(out, self.open(self._driver.devices.current(), blocking=not flags & NONBLOCKING))

    @entry("cuStreamCreate", ADDRESS, UNSIGNED)
    def create_plain(self, out: int, flags: int) -> None:
        self.create(out, flags, 0)

    @entry("cuStreamDestroy", HANDLE)
    def destroy(self, handle: int) -> None:
        stream = self._driver.find(handle, Stream)
        if stream.capture is not None:
            self._driver.fault(f"{stream.name} is destroyed while it is captured")
        self._driver.forget(handle)  # what it has under way still ends

    @entry("cuStreamSynchronize", HANDLE)
    def synchronize(self, handle: int) -> None:
        stream = self.of(handle)
        self._not_captured(stream)
        if handle <= LEGACY:
            self.submit(handle, _nothing, "synchronize")
        self.finish(stream.last)
        self._driver.raise_sticky()

    @entry("cuCtxSynchronize")
    @entry("cuCtxSynchronize", HANDLE, since=13000)
    def synchronize_all(self, context: int = 0) -> None:
        self.unsafe()
        self.finish_all()
        self._driver.raise_sticky()

    @entry("cuStreamQuery", HANDLE)
    def query(self, handle: int) -> None:
        self.synchronize(handle)

    @entry("cuStreamWaitEvent", HANDLE, HANDLE, UNSIGNED)
    def wait(self, handle: int, event: int, flags: int) -> None:
        stream, found = self.of(handle), self._driver.find(event, Event).operation
        if stream.capture is not None:
            stream.capture.broken = True
            raise StatusError(Status.STREAM_CAPTURE_ISOLATION)
        operation = self.submit(handle, _nothing, "wait")
        if found is not None and not found.done:
            operation.after = (*operation.after, found)

    @entry("cuStreamGetCtx", HANDLE, ADDRESS)
    @entry("cuStreamGetCtx", HANDLE, ADDRESS, ADDRESS, since=12050)
    def context(self, handle: int, out: int, green: int = 0) -> None:
        put(out, self._driver.devices.context_of(self.of(handle).device))
        put(green, 0)

    @entry("cuStreamGetDevice", HANDLE, ADDRESS)
    def device(self, handle: int, out: int) -> None:
        put(out, self.of(handle).device, INT)

    @entry("cuStreamGetFlags", HANDLE, ADDRESS)
    def flags(self, handle: int, out: int) -> None:
        put(out, 0 if self.of(handle).blocking else NONBLOCKING, UNSIGNED)

    @entry("cuStreamGetPriority", HANDLE, ADDRESS)
    def priority(self, handle: int, out: int) -> None:
        put(out, 0 * self.of(handle).device, INT)

    @entry("cuCtxGetStreamPriorityRange", ADDRESS, ADDRESS)
    def priorities(self, least: int, greatest: int) -> None:
        put(least, 0, INT)
        put(greatest, -5, INT)

    # ---- events ----------------------------------------------------------------------------------------------------

    @entry("cuEventCreate", ADDRESS, UNSIGNED)
    def create_event(self, out: int, flags: int) -> None:
        put(out, self._driver.register(Event(timed=not flags & DISABLE_TIMING)))

    @entry("cuEventDestroy", HANDLE)
    def destroy_event(self, handle: int) -> None:
        self._driver.find(handle, Event)
        self._driver.forget(handle)

    @entry("cuEventRecord", HANDLE, HANDLE)
    def record(self, handle: int, stream: int) -> None:
        if (capture := self.of(stream).capture) is not None:
            capture.broken = True
            raise StatusError(Status.STREAM_CAPTURE_UNSUPPORTED)
        event = self._driver.find(handle, Event)
        event.operation = self.submit(stream, lambda: event.pass_at(self._driver.kernels.ended), "event")

    @entry("cuEventRecordWithFlags", HANDLE, HANDLE, UNSIGNED)
    def record_with_flags(self, handle: int, stream: int, flags: int) -> None:
        self.record(handle, stream)

    @entry("cuEventSynchronize", HANDLE)
    @entry("cuEventQuery", HANDLE)
    def synchronize_event(self, handle: int) -> None:
        self.finish(self._driver.find(handle, Event).operation)
        self._driver.raise_sticky()

    @entry("cuEventElapsedTime", ADDRESS, HANDLE, HANDLE)
    def elapsed(self, out: int, begin: int, end: int) -> None:
        found = [self._driver.find(event, Event) for event in (begin, end)]
        for event in found:
            if event.operation is None or not event.timed:
                raise StatusError(Status.INVALID_HANDLE)
            if not event.operation.done:
                raise StatusError(Status.NOT_READY)
        put(out, found[1].time - found[0].time, ctypes.c_float)

    # ---- capture ---------------------------------------------------------------------------------------------------

    @entry("cuStreamBeginCapture", HANDLE, INT)
    def begin(self, handle: int, mode: int) -> None:
        stream = self.of(handle)
        if handle <= LEGACY or stream.capture is not None:
            raise StatusError(Status.STREAM_CAPTURE_UNSUPPORTED)
        graph = Graph([])
        stream.capture = Capture(mode, self._driver.register(graph), graph.nodes)

    @entry("cuStreamEndCapture", HANDLE, ADDRESS)
    def end(self, handle: int, out: int) -> None:
        stream = self.of(handle)
        capture, stream.capture = stream.capture, None
        if capture is None:
            raise StatusError(Status.STREAM_CAPTURE_UNMATCHED)
        if capture.broken:
            put(out, 0)
            raise StatusError(Status.STREAM_CAPTURE_INVALIDATED)
        put(out, capture.graph)

    @entry("cuStreamIsCapturing", HANDLE, ADDRESS)
    def is_capturing(self, handle: int, out: int) -> None:
        put(out, int(self.of(handle).capture is not None), INT)

    @entry("cuStreamGetCaptureInfo", HANDLE, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS)
    def capture_info_12(self, handle: int, out: int, number: int, graph: int, nodes: int, count: int) -> None:
        self.capture_info(handle, out, number, graph, nodes, 0, count)

    @entry("cuStreamGetCaptureInfo", HANDLE, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, since=12030)
    def capture_info(self, handle: int, out: int, number: int, graph: int, nodes: int, edges: int, count: int) -> None:
        capture = self.of(handle).capture
        put(out, int(capture is not None), INT)
        put(number, 1)
        put(graph, capture.graph if capture is not None else 0)
        for other in (nodes, edges, count):
            put(other, 0)

    def _not_captured(self, stream: Stream) -> None:
        if stream.capture is not None:
            stream.capture.broken = True
            raise StatusError(Status.STREAM_CAPTURE_UNSUPPORTED)


def _nothing() -> Any:
    pass
