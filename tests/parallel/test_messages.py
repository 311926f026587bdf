"""What goes between processes: values come back as they were, and nothing else is taken for a message."""

import math
import pickle

import pytest
import torch

from satori_hpc.errors import ArtefactError, Preempted, RunLockedError, SatoriError
from satori_hpc.parallel import messages
from satori_hpc.parallel.torch_group import LostError

SECRET = b"of this job"


def there_and_back(value: object) -> object:
    return messages.decode(messages.encode(value))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(2**70),
        0.1 + 0.2,
        -math.inf,
        "a name\nwith \udcff and é",
        b"\0\xff" * 3,
        [],
        [1, (2, ("x",)), {"a": [None], 3: {}, (1, "b"): b"c"}],
        ["list", "dict", ["tensor", "float32", [1], 4]],  # no word of a value is taken for a kind
        {"list": ["bytes", 7]},
    ],
    ids=repr,
)
def test_values_come_back_as_they_were(value: object) -> None:
    found = there_and_back(value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("dtype", messages.DTYPES)
def test_tensors_come_back_with_their_dtype_and_shape(dtype: str) -> None:
    numbers = torch.tensor([[0, 1, 5], [7, 0, 1]]).to(getattr(torch, dtype))
    state = {"step": numbers[0, 1], "turned": numbers.T, "empty": numbers[:0], 3: (numbers, b"behind")}
    found = there_and_back(state)
    assert isinstance(found, dict)
    for key in ("step", "turned", "empty"):
        assert found[key].dtype == numbers.dtype
        assert torch.equal(found[key], state[key])
        assert found[key].shape == state[key].shape
    assert torch.equal(found[3][0], numbers)
    assert found[3][1] == b"behind"


@pytest.mark.parametrize(
    "value",
    [{1, 2}, object(), [Preempted("x")], torch.zeros(1, dtype=torch.complex64)],
    ids=("a set", "an object", "an error", "complex numbers"),
)
def test_what_is_not_plain_is_not_sent(value: object) -> None:
    with pytest.raises(TypeError, match="cannot be sent to other processes"):
        messages.encode(value)


def test_a_pickle_is_no_message() -> None:
    with pytest.raises(ValueError, match=r".+"):
        messages.decode(pickle.dumps({"a": 1}))


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ArtefactError("no"), ArtefactError), (RunLockedError("held"), RunLockedError), (LostError("lost"), SatoriError)],
)
def test_errors_keep_kind_words_and_status(error: SatoriError, kind: type[SatoriError]) -> None:
    found = messages.decode_error(there_and_back(messages.encode_error(error)))  # type: ignore[arg-type]
    assert type(found) is kind
    assert (str(found), found.status) == (str(error), error.status)
    assert messages.decode_error(messages.encode_error(Preempted("later"))).status == 75


def test_a_seal_holds_for_its_secret_number_sender_and_words() -> None:
    sealed = messages.seal(b"words", SECRET, number=4, rank=1)
    assert messages.unseal(sealed, SECRET, number=4, rank=1) == b"words"
    wrong = [
        (sealed, b"another job's", 4, 1),
        (sealed, SECRET, 5, 1),
        (sealed, SECRET, 4, 0),
        (sealed[:-1] + b"z", SECRET, 4, 1),
        (b"\0" + sealed[1:], SECRET, 4, 1),
        (sealed[:20], SECRET, 4, 1),
        (b"", SECRET, 4, 1),
    ]
    for content, secret, number, rank in wrong:
        with pytest.raises(SatoriError, match=f"rank {rank} was not sent by a process of this job"):
            messages.unseal(content, secret, number=number, rank=rank)
