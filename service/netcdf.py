"""A posterior as netCDF-4, and back."""

import io
from typing import Any

import numpy as np
import orjson
import xarray as xr


def to_netcdf(tree: xr.DataTree) -> bytes:
    """Attributes that netCDF has no types for stand in it as JSON."""
    nodes, encoding = dict[str, xr.Dataset](), dict[str, dict[str, Any]]()
    for node in tree.subtree:
        held = node.to_dataset(inherit=False)
        held.attrs = _json(held.attrs)
        for name in held.variables:
            held[name].attrs = _json(held[name].attrs)
        nodes[node.path] = held
        packed = {"zlib": True, "complevel": 1}
        encoding[node.path] = {str(name): packed for name, v in held.variables.items() if v.dtype.kind in "fiu"}
    content = xr.DataTree.from_dict(nodes).to_netcdf(engine="h5netcdf", encoding=encoding)
    return bytes(content)


def from_netcdf(content: bytes) -> xr.DataTree:
    """In memory."""
    with xr.open_datatree(io.BytesIO(content), engine="h5netcdf") as tree:
        # Node by node: DataTree.load leaves a variable unread that is named as a group is.
        return xr.DataTree.from_dict({node.path: node.to_dataset(inherit=False).load() for node in tree.subtree})


def _json(attrs: dict[Any, Any]) -> dict[Any, Any]:
    plain = (str, int, float, np.generic)
    return {k: v if isinstance(v, plain) or _texts(v) else orjson.dumps(v, default=str).decode() for k, v in attrs.items()}


def _texts(value: Any) -> bool:
    """Whether it is several texts, which netCDF has a type for, and ArviZ looks for under ``sample_dims``."""
    return isinstance(value, list) and len(value) > 1 and all(isinstance(v, str) for v in value)
