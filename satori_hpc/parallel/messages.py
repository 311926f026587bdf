"""Encode messages between processes as bytes: JSON followed by tensors. Received data are never executed.

A message can be sealed by a secret that the processes of a job share, so that messages of other programs are refused.
"""

import hmac
import json
import sys
from typing import TYPE_CHECKING, Any

from satori_hpc import errors
from satori_hpc.errors import SatoriError

if TYPE_CHECKING:
    import torch

# Dtypes of tensors that can be sent, by their names in torch.
DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
TAG_BYTES = 32  # of HMAC-SHA256
ERRORS: dict[str, type[SatoriError]] = {
    name: found for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, SatoriError)
}


def encode(value: Any) -> bytes:
    """Return a message that holds a value.

    Args:
        value: None, bool, int, float, str, bytes, tensors, and lists, tuples and dictionaries of them.

    Raises:
        TypeError: something in it is of another type.
    """
    parts: list[bytes] = []
    head = json.dumps(_plain(value, parts)).encode()
    return b"".join([len(head).to_bytes(8, "little"), head, *parts])


def decode(message: bytes) -> Any:
    """Return the value of a message made by `encode`; tensors are on the CPU."""
    behind = 8 + int.from_bytes(message[:8], "little")
    rest = memoryview(message)[behind:]
    value, rest = _value(json.loads(message[8:behind]), rest)
    if rest:
        raise ValueError(f"{len(rest)} bytes too many")
    return value


def encode_error(error: SatoriError) -> list[Any]:
    """Return an error as a value that can be sent."""
    return [type(error).__name__, str(error), error.status]


def decode_error(value: list[Any]) -> SatoriError:
    """Return the error encoded by `encode_error`."""
    name, text, status = value
    error = ERRORS.get(name, SatoriError)(text)
    error.status = status
    return error


def seal(message: bytes, secret: bytes, *, number: int, rank: int) -> bytes:
    """Authenticate a message with its HMAC-SHA256, valid for this exchange and this sender only.

    Args:
        message: it.
        secret: that the processes share.
        number: of the exchange.
        rank: of the sender.
    """
    return _tag(message, secret, number, rank) + message


def unseal(sealed: bytes, secret: bytes, *, number: int, rank: int) -> bytes:
    """Verify and return the message given to `seal`.

    Raises:
        SatoriError: it was not made with this secret, or for another exchange, or by another process.
    """
    message = sealed[TAG_BYTES:]
    if not hmac.compare_digest(sealed[:TAG_BYTES], _tag(message, secret, number, rank)):
        raise SatoriError(
            f"what came from rank {rank} was not sent by a process of this job (it does not know the job's secret): "
            "another program has connected; none of its data was used. Run the same command again, see docs/security.md"
        )
    return message


def _tag(message: bytes, secret: bytes, number: int, rank: int) -> bytes:
    made = hmac.new(secret, f"{number} {rank} ".encode(), "sha256")
    made.update(message)
    return made.digest()


def _plain(value: Any, parts: list[bytes]) -> Any:
    """Return a value as JSON has it; containers are lists that begin with their kind. Appends bytes to `parts`."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return ["list" if isinstance(value, list) else "tuple", *(_plain(item, parts) for item in value)]
    if isinstance(value, dict):
        return ["dict", *([_plain(key, parts), _plain(item, parts)] for key, item in value.items())]
    if isinstance(value, bytes):
        parts.append(value)
        return ["bytes", len(value)]
    if "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor):
        return ["tensor", *_tensor(value, parts)]
    raise TypeError(f"{type(value).__name__} cannot be sent to other processes")


def _tensor(value: "torch.Tensor", parts: list[bytes]) -> list[Any]:
    import torch

    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise TypeError(f"tensors of {dtype} cannot be sent to other processes")
    content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    parts.append(content)
    return [dtype, list(value.shape), len(content)]


def _value(plain: Any, rest: memoryview) -> tuple[Any, memoryview]:
    """Return the value encoded by `_plain`, and the remaining bytes."""
    if not isinstance(plain, list):
        return plain, rest
    kind, *items = plain
    if kind == "bytes":
        return bytes(rest[: items[0]]), rest[items[0] :]
    if kind == "tensor":
        dtype, shape, size = items
        return _from_bytes(bytearray(rest[:size]), dtype, shape), rest[size:]
    found = []
    for item in items:
        if kind == "dict":
            key, rest = _value(item[0], rest)
            one, rest = _value(item[1], rest)
            found.append((key, one))
        else:
            one, rest = _value(item, rest)
            found.append(one)
    return {"list": list, "tuple": tuple, "dict": dict}[kind](found), rest


def _from_bytes(content: bytearray, dtype: str, shape: list[int]) -> "torch.Tensor":
    import torch

    if dtype not in DTYPES:
        raise ValueError(f"tensors of {dtype} are not sent")
    flat = torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
    return flat.view(getattr(torch, dtype)).reshape(shape)
