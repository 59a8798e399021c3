"""The kernels' entries by pointer, each compiled once for XLA and for Python alike.

An entry takes one address: that of a call frame as XLA's foreign function interface lays it out (``xla/ffi/api/c_api.h``, which jaxlib
ships). :mod:`model.xla` tells JAX of the entries; :func:`forward` and :func:`adjoint` fill in such frames themselves, since compiling a
kernel for a second way to call it takes as long as for the first.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import carray, cfunc, config, njit, types
from numba.extending import intrinsic

from model.adjoint import Gradient, pull
from model.kernel import CAMPAIGNS, INPUTS, INTEGERS, Layer, run

# In words of eight bytes. A call frame: 1 its extension, 9 the arguments, 14 the results. A buffer: 3 its data, 4 its
# rank, 5 its dimensions.
_EXTENSION, _ARGUMENTS, _RESULTS, _DATA, _RANK, _DIMENSIONS = 1, 9, 14, 3, 4, 5
_VERSION_AT = 24
"""Bytes into the metadata that the interface asks for on registration."""
_MAJOR, _MINOR = 0, 1


def _pointer_to(element: Any) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def pointer(typing_context: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), codegen

    return pointer


_words, _halves, _floats = _pointer_to(types.int64), _pointer_to(types.int32), _pointer_to(types.float64)


@njit
def _only_asked(frame):  # type: ignore[no-untyped-def]
    """Whether the call only asks which version of the interface this is, which it is then told."""
    if frame[_EXTENSION] == 0:
        return False
    version = carray(_halves(carray(_words(frame[_EXTENSION]), 4)[3] + _VERSION_AT), 2)
    version[0], version[1] = _MAJOR, _MINOR
    return True


@njit
def _data(buffer):  # type: ignore[no-untyped-def]
    return carray(_words(buffer), 6)[_DATA]


@njit
def _size(buffer, axis):  # type: ignore[no-untyped-def]
    return carray(_words(carray(_words(buffer), 6)[_DIMENSIONS]), axis + 1)[axis]


@njit
def _cleared(buffers, count, cleared):  # type: ignore[no-untyped-def]
    """Addresses of `count` buffers, the first `cleared` of them filled with zeros."""
    out = carray(_words(buffers), count)
    for buffer in out[:cleared]:
        size = 1
        for axis in range(carray(_words(buffer), 6)[_RANK]):
            size *= _size(buffer, axis)
        carray(_floats(_data(buffer)), size)[:] = 0.0
    return out


@njit
def _i0(buffer):  # type: ignore[no-untyped-def]
    return carray(_words(_data(buffer)), 1)[0]


@njit
def _i1(buffer):  # type: ignore[no-untyped-def]
    return carray(_words(_data(buffer)), (_size(buffer, 0),))


@njit
def _i2(buffer):  # type: ignore[no-untyped-def]
    return carray(_words(_data(buffer)), (_size(buffer, 0), _size(buffer, 1)))


@njit
def _f0(buffer):  # type: ignore[no-untyped-def]
    return carray(_floats(_data(buffer)), 1)[0]


@njit
def _f1(buffer):  # type: ignore[no-untyped-def]
    return carray(_floats(_data(buffer)), (_size(buffer, 0),))


@njit
def _f2(buffer):  # type: ignore[no-untyped-def]
    return carray(_floats(_data(buffer)), (_size(buffer, 0), _size(buffer, 1)))


@njit
def _f3(buffer):  # type: ignore[no-untyped-def]
    return carray(_floats(_data(buffer)), (_size(buffer, 0), _size(buffer, 1), _size(buffer, 2)))


@njit
def _layer(a):  # type: ignore[no-untyped-def]
    return Layer(  # type: ignore[call-arg]
        _i0(a[0]), _f2(a[1]), _f2(a[2]), _i2(a[3]), _f2(a[4]), _f0(a[5]), _f1(a[6]), _f1(a[7]), _f2(a[8]), _f2(a[9]), _f2(a[10]),
        _f2(a[11]), _f1(a[12]), _f2(a[13]), _f1(a[14]), _f1(a[15]), _i1(a[16]), _i1(a[17]), _f1(a[18]), _f1(a[19]), _i1(a[20]),
        _f1(a[21]), _i1(a[22]), _i1(a[23]), _f1(a[24]),
    )  # fmt: skip


def _forward(address):  # type: ignore[no-untyped-def]
    frame = carray(_words(address), 15)
    if _only_asked(frame):
        return 0
    # The states are as much memory as all else together: written once, but for months that are not looked at.
    out = _cleared(frame[_RESULTS], 3, 2)
    p, state = _layer(carray(_words(frame[_ARGUMENTS]), 25)), _f2(out[2])
    state[p.months :] = 0.0
    run(p, _f2(out[0]), _f3(out[1]), state)
    return 0


def _adjoint(address):  # type: ignore[no-untyped-def]
    frame = carray(_words(address), 15)
    if _only_asked(frame):
        return 0
    given = carray(_words(frame[_ARGUMENTS]), 28)
    out = _cleared(frame[_RESULTS], 14, 14)
    gradient = Gradient(  # type: ignore[call-arg]
        _f2(out[0]), _f2(out[1]), _f2(out[2]), carray(_floats(_data(out[3])), 1), _f1(out[4]), _f1(out[5]), _f2(out[6]), _f2(out[7]),
        _f2(out[8]), _f2(out[9]), _f1(out[10]), _f2(out[11]), _f1(out[12]), _f1(out[13]),
    )  # fmt: skip
    pull(_layer(given), _f3(given[25]), _f2(given[26]), _f2(given[27]), gradient)
    return 0


ENTRIES = {"forward": _forward, "adjoint": _adjoint}


_ELSEWHERE: dict[str, "subprocess.Popen[bytes]"] = {}
"""Who compiles an entry now."""


@cache
def entry(name: str) -> Any:
    """A ctypes function: address of a call frame -> 0."""
    if name in _ELSEWHERE:
        _ELSEWHERE[name].wait()
    return cfunc("int64(int64)", cache=True)(ENTRIES[name]).ctypes


@contextmanager
def beside(name: str) -> Iterator[None]:
    """Meanwhile another process compiles an entry into numba's cache, where it is not there yet: numba compiles under Python's lock. Who
    asks for that entry waits for it."""
    if any(Path(config.CACHE_DIR).glob(f"*/{__name__.rpartition('.')[2]}.{ENTRIES[name].__name__}-*.nbi")):
        yield
        return
    program = f"from {__name__} import entry; entry({name!r})"
    paths = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", program], env=paths, stdin=subprocess.DEVNULL) as other:
        _ELSEWHERE[name] = other
        try:
            yield
        except BaseException:
            other.kill()
            raise
        finally:
            del _ELSEWHERE[name]


def _call(name: str, arguments: list[np.ndarray], results: list[np.ndarray]) -> None:
    """Lay out a frame, the addresses of its buffers, these, and their dimensions, one after the other."""
    arrays = [*arguments, *results]
    addresses, buffers, dimensions = 15, 15 + len(arrays), 15 + 7 * len(arrays)
    words = [0] * (dimensions + 4 * len(arrays))
    memory = np.empty(len(words), np.int64)
    start = _address(memory)
    words[_ARGUMENTS], words[_RESULTS] = start + 8 * addresses, start + 8 * (addresses + len(arguments))
    for n, array in enumerate(arrays):
        buffer, sizes = buffers + 6 * n, dimensions + 4 * n
        words[addresses + n], words[buffer + _DATA] = start + 8 * buffer, _address(array)
        words[buffer + _RANK], words[buffer + _DIMENSIONS] = array.ndim, start + 8 * sizes
        words[sizes : sizes + array.ndim] = array.shape
    memory[:] = words
    entry(name)(start)


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def _given(p: Any) -> list[np.ndarray]:
    return [np.asarray(v, np.int64 if n in INTEGERS else np.float64) for n, v in zip(INPUTS, p, strict=True)]


def forward(p: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(predictive, campaign, state) of :func:`model.kernel.run`."""
    chains, groups, months = p.entry.shape[0], p.onset.shape[0], p.x.shape[1]
    out = [np.empty(shape) for shape in ((chains, months), (groups, months, CAMPAIGNS), (months, CAMPAIGNS * p.shift.size * chains))]
    _call("forward", _given(p), out)
    return out[0], out[1], out[2]


def adjoint(p: Any, campaign: np.ndarray, state: np.ndarray, weight: np.ndarray) -> Any:
    """:data:`Gradient` of sum(weight * predictive)."""
    gradient = Gradient(*(np.empty(np.shape(getattr(p, name))) for name in Gradient._fields))
    _call("adjoint", [*_given(p), campaign, state, np.ascontiguousarray(weight, np.float64)], list(gradient))
    return gradient
