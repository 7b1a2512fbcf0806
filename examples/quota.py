#!/usr/bin/env python3
"""As quota.c, in Python, without anything but libweir.so.

    quota.py NAME KEY [UNITS_PER_SECOND] >> taken

$WEIR_LIBRARY names libweir.so, $WEIR_SOCKET the agent's socket.
"""
import ctypes
import os
import sys
import time

ALLOW, UNAVAILABLE, DONE_OK = 0, -11, 0


class Permit(ctypes.Structure):
    _fields_ = [("opaque", ctypes.c_uint64 * 56)]


def library():
    lib = ctypes.CDLL(os.environ.get("WEIR_LIBRARY", "libweir.so.0"))
    lib.weir_strerror.restype = ctypes.c_char_p
    lib.weir_quota_acquire.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64, ctypes.c_uint32,
        ctypes.POINTER(Permit)]
    lib.weir_quota_end.argtypes = [ctypes.POINTER(Permit), ctypes.c_int32, ctypes.c_char_p]
    lib.weir_quota_get.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p)]
    lib.weir_open.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)]
    return lib


def main():
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} NAME KEY [UNITS_PER_SECOND]")
    name, key = sys.argv[1].encode(), sys.argv[2].encode()
    pause = 1 / int(sys.argv[3]) if len(sys.argv) > 3 else 0
    lib = library()
    client, quota = ctypes.c_void_p(), ctypes.c_void_p()
    status = lib.weir_open(None, ctypes.byref(client))
    if status == 0:
        status = lib.weir_quota_get(client, name, ctypes.byref(quota))
    if status != 0:
        sys.exit(f"{sys.argv[0]}: {lib.weir_strerror(status).decode()}")
    permit = Permit()
    while True:
        status = lib.weir_quota_acquire(quota, key, len(key), 1, 2000, ctypes.byref(permit))
        if status == UNAVAILABLE:
            continue
        if status != ALLOW:
            break
        os.write(1, b"P")
        lib.weir_quota_end(ctypes.byref(permit), DONE_OK, None)
        if pause:
            time.sleep(pause)
    print(f"{sys.argv[0]}: {lib.weir_strerror(status).decode()}", file=sys.stderr)


main()
