"""Eight numbers side by side in a vector register, as a value that numba's functions compute with.

A loop over a short last axis is compiled to single numbers, or to registers that pass through memory at every step. A *lanes* value is
one LLVM vector: :func:`at` reads the last axis of an array, which has :data:`WIDTH` elements, as one; ``+ - * /`` go lane by lane,
with floats too; :func:`put` writes it. Products and sums are fused where the machine can.
"""

import operator
from typing import Any, ClassVar

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

WIDTH = 8
_VECTOR = ir.VectorType(ir.DoubleType(), WIDTH)
_ALIGNED = 8
"""Bytes: of a double, as arrays have no more to promise."""


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Lanes")


_lanes = _Lanes()


@register_model(_Lanes)  # type: ignore[untyped-decorator]
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, _VECTOR)


def _spread(builder: Any, value: Any) -> Any:
    """A number in all lanes; lanes as they are."""
    if isinstance(value.type, ir.VectorType):
        return value
    nothing, lanes = ir.Constant(ir.VectorType(value.type, WIDTH), ir.Undefined), ir.VectorType(ir.IntType(32), WIDTH)
    return builder.shuffle_vector(builder.insert_element(nothing, value, ir.IntType(32)(0)), nothing, ir.Constant(lanes, [0] * WIDTH))


def _arithmetic(operation: Any, instruction: str) -> None:
    operands = [(_lanes, _lanes), (_lanes, types.float64), (types.float64, _lanes)]

    class Typed(ConcreteTemplate):  # type: ignore[misc]
        cases: ClassVar[list[Any]] = [signature(_lanes, a, b) for a, b in operands]

    infer_global(operation)(Typed)

    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b = (_spread(builder, v) for v in arguments)
        return getattr(builder, instruction)(a, b, flags=("contract",))

    for a, b in operands:
        lower_builtin(operation, a, b)(lowered)


for _operation, _instruction in (
    (operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv"),
    (operator.iadd, "fadd"), (operator.isub, "fsub"),
):  # fmt: skip
    _arithmetic(_operation, _instruction)
    _arithmetic(
        {"fadd": operator.iadd, "fsub": operator.isub, "fmul": operator.imul, "fdiv": operator.itruediv}[_instruction], _instruction
    )


def _place(context: Any, builder: Any, array_type: Any, array: Any, index_type: Any, index: Any) -> Any:
    """Pointer to the lanes at an index of all axes of an array but its last. That the last has :data:`WIDTH` elements is known here and not
    to numba, which would multiply by its length each time."""
    parts = cgutils.unpack_tuple(builder, index) if isinstance(index_type, types.BaseTuple) else [index]
    kinds = list(index_type) if isinstance(index_type, types.BaseTuple) else [index_type]
    parts = [context.cast(builder, part, kind, types.intp) for part, kind in zip(parts, kinds, strict=True)]
    struct = context.make_array(array_type)(context, builder, array)
    lengths, number = cgutils.unpack_tuple(builder, struct.shape), parts[0]
    for part, length in zip(parts[1:], lengths[1:-1], strict=True):
        number = builder.add(builder.mul(number, length, flags=("nsw",)), part, flags=("nsw",))
    return builder.gep(builder.bitcast(struct.data, _VECTOR.as_pointer()), [number], inbounds=True)


@intrinsic  # type: ignore[untyped-decorator]
def at(typing_context: Any, array: Any, index: Any) -> Any:
    """The lanes at ``index``, an integer or a tuple, of all axes of a C-contiguous array but its last."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature.args[0], arguments[0], signature.args[1], arguments[1])
        return builder.load(place, align=_ALIGNED)

    return _lanes(array, index), codegen


@intrinsic  # type: ignore[untyped-decorator]
def put(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Write lanes where :func:`at` reads them."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature.args[0], arguments[0], signature.args[1], arguments[1])
        builder.store(arguments[2], place, align=_ALIGNED)
        return context.get_dummy_value()

    return types.none(array, index, _lanes), codegen


def _some(context: Any, builder: Any, array_type: Any, array: Any, start: Any, count: Any) -> list[Any]:
    """Elements start : start + count of an array of one axis, as LLVM's masked intrinsics want them: pointer, alignment, mask."""
    struct = context.make_array(array_type)(context, builder, array)
    place = builder.bitcast(builder.gep(struct.data, [start], inbounds=True), _VECTOR.as_pointer())
    lanes = ir.Constant(ir.VectorType(ir.IntType(64), WIDTH), list(range(WIDTH)))
    return [place, ir.IntType(32)(_ALIGNED), builder.icmp_signed("<", lanes, _spread(builder, count))]


def _intrinsic(builder: Any, name: str, returned: Any, arguments: list[Any]) -> Any:
    function = ir.FunctionType(returned, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)


@intrinsic  # type: ignore[untyped-decorator]
def at_some(typing_context: Any, array: Any, start: Any, count: Any) -> Any:
    """Elements start : start + count, :data:`WIDTH` at most, of an array of one axis, in the first lanes; 0 in the others."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        some = _some(context, builder, signature.args[0], *arguments)
        return _intrinsic(builder, f"llvm.masked.load.v{WIDTH}f64.p0", _VECTOR, [*some, ir.Constant(_VECTOR, [0.0] * WIDTH)])

    return _lanes(array, types.intp, types.intp), codegen


@intrinsic  # type: ignore[untyped-decorator]
def put_some(typing_context: Any, array: Any, start: Any, count: Any, value: Any) -> Any:
    """Write the first lanes where :func:`at_some` reads them."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        some = _some(context, builder, signature.args[0], *arguments[:3])
        _intrinsic(builder, f"llvm.masked.store.v{WIDTH}f64.p0", ir.VoidType(), [arguments[3], *some])
        return context.get_dummy_value()

    return types.none(array, types.intp, types.intp, _lanes), codegen


@intrinsic  # type: ignore[untyped-decorator]
def soon(typing_context: Any, array: Any, number: Any) -> Any:
    """Element ``number`` of a C-contiguous array, counted through all axes, is asked for from memory and not waited for. There need be no
    such element."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        struct = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(struct.data, [arguments[1]]), ir.IntType(8).as_pointer())
        asked = [place, *map(ir.IntType(32), (0, 3, 1))]  # to read; to keep in all caches; data
        _intrinsic(builder, "llvm.prefetch.p0", ir.VoidType(), asked)
        return context.get_dummy_value()

    return types.none(array, types.intp), codegen


@intrinsic  # type: ignore[untyped-decorator]
def spread(typing_context: Any, value: Any) -> Any:
    """A float in all lanes."""
    return _lanes(types.float64), lambda context, builder, signature, arguments: _spread(builder, arguments[0])


@intrinsic  # type: ignore[untyped-decorator]
def at_least(typing_context: Any, value: Any, least: Any) -> Any:
    """The larger of lanes and a float, lane by lane."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, least = arguments[0], _spread(builder, arguments[1])
        return builder.select(builder.fcmp_ordered(">", value, least), value, least)

    return _lanes(_lanes, types.float64), codegen
