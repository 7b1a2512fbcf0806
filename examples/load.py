#!/usr/bin/env python3
"""load.py: the same as load.c, from Python through ctypes. Needs nothing but libweir.so.0.

  load.py [LIMIT [SECONDS [CALLS_PER_SECOND]]]      defaults: /api/order 5 1000

It attaches at $WEIR_SOCKET, or at /run/weir/agent.sock. $WEIR_LIBRARY names the library where it
is not installed, e.g. WEIR_LIBRARY=build/release/lib/libweir.so.0. It prints, at its end:

  asked=4995 admitted=1530 refused=3465 begin_ns=... end_ns=...

The classes Client and Limit are all that a program needs; copy them.
"""
import ctypes
import os
import sys
import time

ALLOW = 0
MODE_LOCAL, MODE_OPEN, MODE_CLOSED = 1, 2, 3


class Options(ctypes.Structure):
    _fields_ = [
        ("struct_bytes", ctypes.c_uint32),
        ("connect_timeout_ms", ctypes.c_uint32),
        ("socket_path", ctypes.c_char_p),
        ("require_agent", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("label", ctypes.c_char_p),
    ]


class LimitOptions(ctypes.Structure):
    _fields_ = [
        ("struct_bytes", ctypes.c_uint32),
        ("mode", ctypes.c_int32),
        ("amount", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
        ("burst", ctypes.c_uint64),
    ]


class LimitInfo(ctypes.Structure):
    _fields_ = [
        ("struct_bytes", ctypes.c_uint32),
        ("shared", ctypes.c_int32),
        ("agent_alive", ctypes.c_int32),
        ("algorithm", ctypes.c_int32),
        ("tokens", ctypes.c_int64),
        ("amount", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
        ("burst", ctypes.c_uint64),
        ("refused_total", ctypes.c_uint64),
        ("owed", ctypes.c_uint64),
    ]


def load_library():
    library = ctypes.CDLL(os.environ.get("WEIR_LIBRARY", "libweir.so.0"))
    status, pointer, u32, u64 = ctypes.c_int32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    library.weir_strerror.restype = ctypes.c_char_p
    library.weir_strerror.argtypes = [status]
    library.weir_close.restype = None
    library.weir_close.argtypes = [pointer]
    for name, arguments in {
        "weir_open": [ctypes.POINTER(Options), ctypes.POINTER(pointer)],
        "weir_limit_get": [pointer, ctypes.c_char_p, ctypes.POINTER(LimitOptions),
                           ctypes.POINTER(pointer)],
        "weir_limit_read": [pointer, ctypes.POINTER(LimitInfo)],
        "weir_try_acquire": [pointer, u32],
        "weir_acquire": [pointer, u32, u64, ctypes.POINTER(u64)],
        "weir_refund": [pointer, u32],
    }.items():
        function = getattr(library, name)
        function.restype = status
        function.argtypes = arguments
    return library


class Client:
    """The process's connection to the agent. Keep it as long as any of its limits is in use."""

    def __init__(self, require_agent=False, label="python"):
        self.library = load_library()
        options = Options(struct_bytes=ctypes.sizeof(Options), require_agent=int(require_agent),
                          label=label.encode())
        self.handle = ctypes.c_void_p()
        self.check(self.library.weir_open(ctypes.byref(options), ctypes.byref(self.handle)))

    def limit(self, name, amount=0, period_ns=0, burst=0):
        """The limit of that name. With an amount, this process keeps to it by itself until an
        agent knows the name; without one everything passes until then."""
        options = LimitOptions(struct_bytes=ctypes.sizeof(LimitOptions),
                               mode=MODE_LOCAL if amount else MODE_OPEN,
                               amount=amount, period_ns=period_ns, burst=burst)
        handle = ctypes.c_void_p()
        self.check(self.library.weir_limit_get(self.handle, name.encode(), ctypes.byref(options),
                                               ctypes.byref(handle)))
        return Limit(self, handle)

    def check(self, status):
        if status < 0:
            raise OSError(self.library.weir_strerror(status).decode())
        return status

    def close(self):
        self.library.weir_close(self.handle)


class Limit:
    def __init__(self, client, handle):
        self.client = client  # the limit lives as long as its client
        self.handle = handle

    def try_acquire(self, tokens=1):
        return self.client.check(self.client.library.weir_try_acquire(self.handle, tokens)) == ALLOW

    def acquire(self, timeout_s, tokens=1):
        """Waits in turn. ctypes lets other threads run meanwhile."""
        wait_ns = ctypes.c_uint64()
        return self.client.check(self.client.library.weir_acquire(
            self.handle, tokens, int(timeout_s * 1e9), ctypes.byref(wait_ns))) == ALLOW

    def refund(self, tokens=1):
        self.client.check(self.client.library.weir_refund(self.handle, tokens))

    def read(self):
        info = LimitInfo(struct_bytes=ctypes.sizeof(LimitInfo))
        self.client.check(self.client.library.weir_limit_read(self.handle, ctypes.byref(info)))
        return info


def main(arguments):
    name = arguments[0] if arguments else "/api/order"
    seconds = float(arguments[1]) if len(arguments) > 1 else 5
    calls_per_second = float(arguments[2]) if len(arguments) > 2 else 1000
    client = Client(require_agent=True, label="load.py")
    limit = client.limit(name, amount=100)
    if not limit.read().shared:
        sys.exit(f"load.py: the agent has no limit '{name}'; `weir list` names them")

    pause_ns = int(1e9 / calls_per_second)
    admitted = refused = 0
    begin_ns = now_ns = next_ns = time.monotonic_ns()
    stop_ns = begin_ns + int(seconds * 1e9)
    while now_ns < stop_ns:
        if limit.try_acquire():
            admitted += 1
        else:
            refused += 1
        next_ns = max(next_ns + pause_ns, now_ns)
        time.sleep(max(0, next_ns - time.monotonic_ns()) / 1e9)
        now_ns = time.monotonic_ns()
    print(f"asked={admitted + refused} admitted={admitted} refused={refused} "
          f"begin_ns={begin_ns} end_ns={now_ns}")
    client.close()


if __name__ == "__main__":
    if len(sys.argv) > 4 or {"-h", "--help"} & set(sys.argv):
        sys.exit(__doc__)
    try:
        main(sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(f"load.py: {error}")
