#!/usr/bin/env python3
"""service.py: the guard of service.c, from Python through ctypes. Needs nothing but libweir.so.0.

  service.py [RESOURCE [SECONDS]]      defaults: orders 5

It attaches at $WEIR_SOCKET, or at /run/weir/agent.sock. $WEIR_LIBRARY names the library where it
is not installed. The classes Toolkit and Guard are all that a program needs; copy them.
"""
import ctypes
import os
import sys
import time

ALLOW = 0
DENY_DEADLINE = 20
CRITICAL, SHEDDABLE = 1, 3
DONE_OK, DONE_FAILED, DONE_IGNORED = 0, 1, 2


class GuardOptions(ctypes.Structure):
    _fields_ = [
        ("struct_bytes", ctypes.c_uint32),
        ("priority_class", ctypes.c_int32),
        ("resource", ctypes.c_void_p),
        ("limit", ctypes.c_void_p),
        ("tokens", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("deadline_mono_ns", ctypes.c_int64),
        ("expected_ns", ctypes.c_uint64),
        ("tenant", ctypes.c_void_p),
    ]


class Toolkit:
    """One for the process."""

    def __init__(self):
        self.lib = ctypes.CDLL(os.environ.get("WEIR_LIBRARY", "libweir.so.0"))
        self.lib.weir_open.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)]
        self.lib.weir_resource_get.argtypes = [
            ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p)]
        self.lib.weir_deadline_for.argtypes = [ctypes.c_void_p, ctypes.c_int64]
        self.lib.weir_deadline_for.restype = ctypes.c_int64
        self.lib.weir_guard_begin.argtypes = [ctypes.POINTER(GuardOptions), ctypes.c_void_p]
        self.lib.weir_guard_end.argtypes = [ctypes.c_void_p, ctypes.c_int32]
        self.client = ctypes.c_void_p()
        if self.lib.weir_open(None, ctypes.byref(self.client)) != 0:
            raise OSError("weir_open failed")

    def resource(self, name):
        found = ctypes.c_void_p()
        if self.lib.weir_resource_get(self.client, name.encode(), ctypes.byref(found)) != 0:
            raise ValueError(f"{name!r} is not allowed")
        return found


class Guard:
    """with Guard(toolkit, resource) as guard: if guard.status == ALLOW: ...; an exception is a failure."""

    def __init__(self, toolkit, resource, priority_class=CRITICAL, timeout_ns=0, expected_ns=0):
        self.toolkit = toolkit
        self.guard = (ctypes.c_uint64 * 12)()
        self.options = GuardOptions(
            struct_bytes=ctypes.sizeof(GuardOptions), priority_class=priority_class,
            resource=resource, expected_ns=expected_ns,
            deadline_mono_ns=toolkit.lib.weir_deadline_for(resource, timeout_ns))

    def __enter__(self):
        self.status = self.toolkit.lib.weir_guard_begin(ctypes.byref(self.options), self.guard)
        return self

    def __exit__(self, kind, *_):
        self.toolkit.lib.weir_guard_end(self.guard, DONE_OK if kind is None else DONE_FAILED)
        return False


def main():
    name = sys.argv[1] if len(sys.argv) > 1 else "orders"
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5
    toolkit = Toolkit()
    orders = toolkit.resource(name)
    asked = answered = failed = refused = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        asked += 1
        try:
            with Guard(toolkit, orders, SHEDDABLE if asked % 4 == 0 else CRITICAL,
                       timeout_ns=250_000_000, expected_ns=1_000_000) as guard:
                if guard.status != ALLOW:
                    refused += 1
                elif asked % 10 == 0:
                    raise RuntimeError("the database says no")
                else:
                    answered += 1
        except RuntimeError:
            failed += 1
        time.sleep(0.001)
    print(f"asked={asked} answered={answered} failed={failed} refused={refused}")


if __name__ == "__main__":
    main()
