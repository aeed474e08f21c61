"""Reading a pickle without running it.

`torch.load(weights_only=True)` runs no code of the file's choice, but it does call what its own allow-list names, and
32 bytes of pickle (`bytearray` of a large number) make it take any amount of memory. Here nothing is called at all: a
pickle becomes dictionaries, lists, tuples, numbers and text, and every object in it a `Call`, which only says what
would have been called. Memory is bounded by the number of instructions.
"""

import pickletools
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import IO, Any

MOST_BYTES = 32 * 2**20  # of one pickle; that of a large network with its optimizer's state has half a million
_MOST_INSTRUCTIONS = 2_000_000


class PickleError(ValueError):
    """Not a pickle, a damaged one, or one of which no part is executed; the message is for the user."""


class ForbiddenGlobalError(PickleError):
    """The pickle names an object that weights do not need, and that could be anything."""

    def __init__(self, name: str) -> None:
        super().__init__(f"it names {name}")
        self.name = name


@dataclass(frozen=True)
class Global:
    """A class or function that a pickle names: `module.name`. It is not imported."""

    name: str


@dataclass(eq=False)
class Call:
    """What a pickle wants to have called, and with what the result is then filled.

    Attributes:
        entries: of an object that is filled like a dictionary.
    """

    function: str
    args: tuple[Any, ...]
    entries: dict[Hashable, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Persistent:
    """What a pickle keeps outside itself; with PyTorch the numbers of a tensor."""

    key: Any


_TORCH = "torch._utils._rebuild_"
_NUMPY = ("numpy.core", "numpy._core")  # before and since numpy 2
_PATHS = ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
_NAMES = frozenset(
    (
        *("collections.OrderedDict", "collections.defaultdict", "collections.Counter"),
        *(f"builtins.{name}" for name in ("set", "frozenset", "list", "dict", "tuple", "bytearray", "complex")),
        *(f"builtins.{name}" for name in ("int", "float", "bool", "str")),  # those of a defaultdict
        *("argparse.Namespace", "types.SimpleNamespace", "_codecs.encode"),
        *("datetime.datetime", "datetime.date", "datetime.time", "datetime.timedelta", "datetime.timezone"),
        *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
        *(f"{module}.multiarray.{name}" for module in _NUMPY for name in ("_reconstruct", "scalar")),
        *(f"{module}.numeric._frombuffer" for module in _NUMPY),
        *("numpy.ndarray", "numpy.dtype"),
        *(_TORCH + name for name in ("tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state")),
        *(_TORCH + name for name in ("sparse_tensor", "qtensor", "meta_tensor_no_storage", "wrapper_subclass")),
        *("torch._tensor._rebuild_from_type_v2", "torch.nn.parameter.Parameter", "torch.Tensor", "torch.Size"),
        *("torch.device", "torch.serialization._get_layout", "torch.storage.UntypedStorage"),
    )
)
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


def _global(module: str, name: str) -> Global:
    """The class or function of that name, if weights or plain values need it.

    Raises:
        ForbiddenGlobalError: it is not on the list of what weights need and of plain values beside them.
    """
    full = f"{_PYTHON_2.get(module, module)}.{name}"
    if full not in _NAMES and not _is_torch_constant(full):
        raise ForbiddenGlobalError(full)
    return Global(full)


def _is_torch_constant(full: str) -> bool:
    """Types of numbers, such as `torch.float32`, and of storages, such as `torch.FloatStorage`: only names."""
    import torch

    module, _, name = full.rpartition(".")
    if module != "torch" or not name.isidentifier():
        return False
    return name.endswith("Storage") or isinstance(getattr(torch, name, None), torch.dtype | torch.qscheme)


_CONSTANTS = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_LITERALS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickle(stream: IO[bytes], kept_outside: list[Persistent] | None = None) -> Any:
    """The next pickle of a stream as plain values, `Call`, `Global` and `Persistent`; the stream stands behind it.

    Protocols 2 to 5. Sets become lists, and keys of dictionaries that are neither text nor numbers are left out.

    Args:
        kept_outside: takes every `Persistent` that was met.

    Raises:
        PickleError: damaged, too large, with a global that is not allowed, or of an older protocol.
    """
    reader = _Reader([] if kept_outside is None else kept_outside)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > _MOST_INSTRUCTIONS:
                raise PickleError("it has more instructions than any checkpoint")
            reader.step(opcode.name, argument)
        return reader.stack.pop()
    except PickleError:
        raise
    except Exception as error:  # pickletools and a stack that is empty raise many types
        raise PickleError("it is damaged") from error


class _Reader:
    """The machine that pickles are written for: a stack, the marks on it, and a memory of numbered values."""

    def __init__(self, kept_outside: list[Persistent]) -> None:
        self.stack: list[Any] = []
        self._kept_outside = kept_outside
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _CONSTANTS:
            self.stack.append(argument)
        elif name in _LITERALS:
            self.stack.append(_LITERALS[name])
        elif name in _TUPLES:
            self.stack.append(tuple(self._popped(_TUPLES[name])))
        elif name not in ("PROTO", "FRAME", "STOP"):
            step = getattr(self, f"_{name.lower()}", None)
            if step is None:
                raise PickleError(f"it has an instruction that weights do not need, {name}")
            step(argument)

    def _popped(self, count: int) -> list[Any]:
        items = self.stack[len(self.stack) - count :]
        if len(items) != count or count < 0:
            raise PickleError("it is damaged")
        del self.stack[len(self.stack) - count :]
        return items

    def _from_mark(self) -> list[Any]:
        return self._popped(len(self.stack) - self._marks.pop())

    # One method an instruction, named like it; pickletools describes each.

    def _mark(self, _: None) -> None:
        self._marks.append(len(self.stack))

    def _tuple(self, _: None) -> None:
        self.stack.append(tuple(self._from_mark()))

    def _empty_dict(self, _: None) -> None:
        self.stack.append({})

    def _empty_list(self, _: None) -> None:
        self.stack.append([])

    _empty_set = _empty_list

    def _frozenset(self, _: None) -> None:
        self.stack.append(self._from_mark())

    def _append(self, _: None) -> None:
        self._extend(self._popped(1))

    def _appends(self, _: None) -> None:
        self._extend(self._from_mark())

    _additems = _appends

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target += items
        elif not isinstance(target, Call):  # of an object that is filled like a list nothing is kept
            raise PickleError("it is damaged")

    def _setitem(self, _: None) -> None:
        self._fill(self._popped(2))

    def _setitems(self, _: None) -> None:
        self._fill(self._from_mark())

    def _fill(self, items: list[Any]) -> None:
        target = self.stack[-1]
        entries = target.entries if isinstance(target, Call) else target
        if not isinstance(entries, dict):
            raise PickleError("it is damaged")
        # The hash of a tuple in a million tuples would end the process.
        entries.update((k, v) for k, v in zip(items[::2], items[1::2], strict=True) if isinstance(k, str | int))

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(_global(module, name))

    def _stack_global(self, _: None) -> None:
        module, name = self._popped(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise PickleError("it is damaged")
        self.stack.append(_global(module, name))

    def _reduce(self, _: None) -> None:
        function, args = self._popped(2)
        if not isinstance(function, Global) or not isinstance(args, tuple):
            raise PickleError("it calls something that it made itself")
        self.stack.append(Call(function.name, args))

    _newobj = _reduce

    def _newobj_ex(self, _: None) -> None:
        self._popped(1)  # arguments by name
        self._reduce(None)

    def _build(self, _: None) -> None:
        self._popped(1)  # the state of an object, and we have only the objects that need none
        if not isinstance(self.stack[-1], Call):
            raise PickleError("it changes something that it did not make")

    def _binpersid(self, _: None) -> None:
        self._kept_outside.append(Persistent(*self._popped(1)))
        self.stack.append(self._kept_outside[-1])

    def _binput(self, index: int) -> None:
        self._memo[index] = self.stack[-1]

    _long_binput = _binput

    def _memoize(self, _: None) -> None:
        self._memo[len(self._memo)] = self.stack[-1]

    def _binget(self, index: int) -> None:
        self.stack.append(self._memo[index])

    _long_binget = _binget

    def _pop(self, _: None) -> None:
        self._popped(1)

    def _pop_mark(self, _: None) -> None:
        self._from_mark()
