"""Executable graphs, and what they keep alive."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.cuda_stub.abi import ADDRESS, HANDLE, UNSIGNED, entry, put
from support.cuda_stub.streams import Graph

if TYPE_CHECKING:
    from support.cuda_stub.driver import Driver

MOVE = 1
"""CUuserObjectRetain_flags: the caller's reference becomes the graph's."""


@dataclass(eq=False)
class UserObject:
    """What graphs keep alive; `destroy` is called when nobody holds it."""

    destroy: int
    pointer: int
    count: int

    def release(self, count: int) -> None:
        self.count -= count
        if self.count == 0:
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.destroy)(self.pointer)


class Graphs:
    """Entry points of graphs."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    @entry("cuGraphInstantiate", ADDRESS, HANDLE, UNSIGNED)
    @entry("cuGraphInstantiateWithFlags", ADDRESS, HANDLE, UNSIGNED)
    @entry("cuGraphInstantiateWithParams", ADDRESS, HANDLE, ADDRESS)
    def instantiate(self, out: int, graph: int, how: int) -> None:
        found = self._driver.find(graph, Graph)
        for each in found.objects:
            each.count += 1
        put(out, self._driver.register(Graph(found.nodes, list(found.objects))))

    @entry("cuGraphLaunch", HANDLE, HANDLE)
    def launch(self, graph: int, stream: int) -> None:
        nodes = self._driver.find(graph, Graph).nodes

        def replay() -> None:
            for node in nodes:
                node.action()

        self._driver.streams.submit(
            stream, replay, f"graph of {len(nodes)} nodes", *(use for node in nodes for use in node.uses)
        )

    @entry("cuGraphUpload", HANDLE, HANDLE)
    def upload(self, graph: int, stream: int) -> None:
        self._driver.find(graph, Graph)
        self._driver.streams.of(stream)

    @entry("cuGraphDestroy", HANDLE)
    @entry("cuGraphExecDestroy", HANDLE)
    def destroy_graph(self, handle: int) -> None:
        graph = self._driver.find(handle, Graph)
        self._driver.forget(handle)  # a launch under way still ends
        for each in graph.objects:
            each.release(1)

    @entry("cuUserObjectCreate", ADDRESS, ADDRESS, ADDRESS, UNSIGNED, UNSIGNED)
    def create_user_object(self, out: int, pointer: int, destroy: int, count: int, flags: int) -> None:
        put(out, self._driver.register(UserObject(destroy, pointer, count)))

    @entry("cuUserObjectRelease", HANDLE, UNSIGNED)
    def release_user_object(self, handle: int, count: int) -> None:
        self._driver.find(handle, UserObject).release(count)

    @entry("cuGraphRetainUserObject", HANDLE, HANDLE, UNSIGNED, UNSIGNED)
    def retain_user_object(self, graph: int, handle: int, count: int, flags: int) -> None:
        found = self._driver.find(handle, UserObject)
        found.count += 0 if flags & MOVE else count
        self._driver.find(graph, Graph).objects += [found] * count

    @entry("cuGraphReleaseUserObject", HANDLE, HANDLE, UNSIGNED)
    def give_user_object(self, graph: int, handle: int, count: int) -> None:
        found = self._driver.find(handle, UserObject)
        for _ in range(count):
            self._driver.find(graph, Graph).objects.remove(found)
        found.release(count)
