"""The kernel's arithmetic in C++ (kernel.cpp), called with the same arrays."""

import ctypes
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from model.adjoint import Gradient
from model.kernel import CAMPAIGNS

_SIZES = ("chains", "series", "groups", "states", "pairs", "months", "room")
_ARRAYS = (
    "x", "scale", "kind", "hurdle", "rho", "spare", "relief", "parting", "hold", "onset", "pace", "entry", "exit", "move", "chain", "group",
    "initial", "shift", "role", "own_course", "before", "now", "begun",
)  # fmt: skip


class _Given(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in _SIZES),
        ("slope", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in _ARRAYS),
    ]


class _Pulled(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in Gradient._fields]


@cache
def _library() -> Any:
    out = Path(tempfile.mkdtemp()) / "kernel.so"
    source = Path(__file__).with_name("kernel.cpp")
    subprocess.run(["g++", "-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-o", str(out), str(source)], check=True)
    return ctypes.CDLL(str(out))


def _given(p: Any) -> _Given:
    sizes = (p.entry.shape[0], len(p.rho), p.onset.shape[0], len(p.shift), len(p.now), p.months, p.x.shape[1])
    return _Given(*sizes, p.slope, *(getattr(p, name).ctypes.data for name in _ARRAYS))


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def forward(p: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    chains, groups, months, states = p.entry.shape[0], p.onset.shape[0], p.x.shape[1], len(p.shift)
    out = np.zeros((chains, months)), np.zeros((groups, months, CAMPAIGNS)), np.zeros((months, CAMPAIGNS, states, chains))
    _library().forward(ctypes.byref(_given(p)), *map(_pointer, out))
    return out


def adjoint(p: Any, campaign: np.ndarray, state: np.ndarray, weight: np.ndarray) -> Any:
    out = Gradient(*(np.zeros(np.shape(getattr(p, name))) for name in Gradient._fields))
    pulled = _Pulled(*(v.ctypes.data for v in out))
    _library().adjoint(ctypes.byref(_given(p)), _pointer(campaign), _pointer(state), _pointer(weight), ctypes.byref(pulled))
    return out
