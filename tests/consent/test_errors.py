"""The one family of errors."""

import copy
import inspect
import pickle

import pytest

from consent import errors
from consent.errors import AssentError, Denied

FAMILY = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, AssentError)]


@pytest.mark.parametrize("kind", FAMILY)
def test_errors_survive_a_process_boundary(kind: type[AssentError]) -> None:
    """Message, remedy and code come through pickle and copy, with a code of the case or of the class."""
    for error in (kind("what", remedy="how", code="SPECIAL"), kind("what", remedy="how"), kind("what")):
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(again) is kind
            assert (str(again), again.message, again.remedy, again.code) == (
                str(error),
                error.message,
                error.remedy,
                error.code,
            )


def test_codes_are_stable_and_apart() -> None:
    """One upper-case code per class, so that programs can tell them apart."""
    codes = [kind.code for kind in FAMILY]
    assert len(set(codes)) == len(codes) == 10
    assert all(code.isupper() for code in codes)


def test_a_denial_is_none_of_the_others() -> None:
    """A rule that said no is neither a gap nor a failure: nobody catches it by catching those."""
    others = [kind for kind in FAMILY if kind not in (AssentError, Denied)]
    assert not any(issubclass(Denied, kind) or issubclass(kind, Denied) for kind in others)
    assert not issubclass(AssentError, OSError | ValueError)
