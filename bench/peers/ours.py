"""Our kernel through the C ABI (bench/peers/bridge.h), from any Python: no module but ctypes."""

import ctypes


class Failed(Exception):
    pass


class Library:
    """A shared object of kernels.py."""

    def __init__(self, path, kernel_name):
        self.handle = ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL)
        self.kernel = ctypes.addressof(ctypes.c_char.in_dll(self.handle, f"{kernel_name}_kernel"))
        pointer, int32, names = ctypes.c_void_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_char_p)
        int64s = ctypes.POINTER(ctypes.c_int64)
        signatures = {
            "open": (int32, [pointer, int32, int32, ctypes.POINTER(pointer)]),
            "tensor": (int32, [pointer, int32, ctypes.c_char_p, pointer]),
            "weights": (int32, [pointer, int32, int32, names, ctypes.POINTER(pointer), int64s, int64s]),
            "call": (int32, [pointer]),
            "close": (None, [pointer]),
            "message": (ctypes.c_char_p, []),
            "cache": (int32, [pointer, int32, ctypes.c_int64, pointer, pointer]),
            "limit": (ctypes.c_double, [ctypes.c_char_p, int32]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(self.handle, f"mha_peers_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def require(self, status):
        if status != 0:
            raise Failed(self.message().decode())


class Kernel:
    """A kernel with threads and a workspace; pointers are numbers, their memory stays the caller's."""

    def __init__(self, library, threads, steps):
        self.library = library
        self.run = ctypes.c_void_p()
        library.require(library.open(library.kernel, threads, steps, ctypes.byref(self.run)))

    def set_tensor(self, step, name, address):
        self.library.require(self.library.tensor(self.run, step, name.encode(), address))

    def set_weights(self, step, weights):
        """weights: (name, address, rows, columns) of each."""
        count = len(weights)
        names, addresses, rows, columns = zip(*weights)
        self.library.require(self.library.weights(
            self.run, step, count, (ctypes.c_char_p * count)(*(name.encode() for name in names)),
            (ctypes.c_void_p * count)(*addresses), (ctypes.c_int64 * count)(*rows),
            (ctypes.c_int64 * count)(*columns)))

    def set_cache(self, step, count, keys, values):
        """keys, values: addresses of F32 rows that the step's cache has when a call begins."""
        self.library.require(self.library.cache(self.run, step, count, keys, values))

    def caller(self):
        """A function without arguments that runs all steps."""
        call, run, require = self.library.call, self.run, self.library.require

        def run_steps():
            status = call(run)
            if status != 0:
                require(status)
        return run_steps

    def close(self):
        self.library.close(self.run)
        self.run = ctypes.c_void_p()
