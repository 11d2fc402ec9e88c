"""Seals, tokens and derived keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.errors import EvidenceError
from consent.sealing import (
    bind,
    derive_key,
    digest,
    new_key,
    require_token,
    seal,
    seal_apart,
    seal_many,
    token,
    unseal,
    unseal_apart,
)

KEY = bytes(range(32))
PLAIN = b"salary 12,345.67 on 2026-11-23"
PARTS = (b"assent-record/1", b"subject", b"spending", b"batch-7", b"schema-2")
BOUND = bind(*PARTS)


def refused(key: bytes, sealed: bytes, bound: bytes) -> None:
    with pytest.raises(EvidenceError) as caught:
        unseal(key, sealed, bound)
    told = repr(caught.value) + caught.value.remedy
    assert "salary" not in told
    assert "12,345" not in told
    assert KEY.hex() not in told
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_what_was_sealed_opens() -> None:
    """Nonce, ciphertext and tag open under the same key and the same binding, also when empty."""
    assert unseal(KEY, seal(KEY, PLAIN, BOUND), BOUND) == PLAIN
    assert unseal(KEY, seal(KEY, b"", b""), b"") == b""


@pytest.mark.parametrize("first", [bytes(12), b"\xff" * 12, None])
def test_nonces_kept_apart_never_repeat(first: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """They count on from a random one, over the end of the range as well; each opens only its own record."""
    if first is not None:
        monkeypatch.setattr("consent.sealing.os.urandom", lambda _: first)
    nonces, sealed = seal_apart([KEY] * 300, [PLAIN] * 300, [BOUND] * 300)
    assert len(set(nonces)) == len(set(sealed)) == 300
    assert {len(nonce) for nonce in nonces} == {12}
    assert unseal_apart([KEY] * 300, nonces, sealed, [BOUND] * 300) == [PLAIN] * 300
    for i, j in ((0, 1), (1, 0), (299, 0)):
        with pytest.raises(EvidenceError):
            unseal_apart([KEY], [nonces[i]], [sealed[j]], [BOUND])


def test_two_calls_share_no_nonce() -> None:
    """Each begins anew at random."""
    drawn = [seal_apart([KEY] * 300, [b""] * 300, [b""] * 300)[0] for _ in range(20)]
    assert len({nonce for nonces in drawn for nonce in nonces}) == 6_000


def test_no_two_seals_look_alike() -> None:
    """Nonces are random: the same record sealed twice gives nothing to compare."""
    sealed = seal_many([KEY] * 100, [PLAIN] * 100, [BOUND] * 100)
    assert len({s[:12] for s in sealed}) == len(set(sealed)) == 100
    assert PLAIN not in b"".join(sealed)


def test_each_byte_counts() -> None:
    """Any flipped byte of nonce, ciphertext or tag is found."""
    sealed = seal(KEY, PLAIN, BOUND)
    for i in range(len(sealed)):
        refused(KEY, sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :], BOUND)


def test_nothing_can_be_cut_off_or_added() -> None:
    """Every truncation is found, down to nothing, and every addition."""
    sealed = seal(KEY, PLAIN, BOUND)
    for length in range(len(sealed)):
        refused(KEY, sealed[:length], BOUND)
    refused(KEY, sealed + b"\0", BOUND)


@pytest.mark.parametrize("i", range(len(PARTS)))
def test_each_part_of_the_binding_counts(i: int) -> None:
    """A record moved to another subject, source, batch or schema does not open."""
    sealed = seal(KEY, PLAIN, BOUND)
    for other in (b"", PARTS[i] + b"x", PARTS[i][:-1], PARTS[i - 1]):
        refused(KEY, sealed, bind(*PARTS[:i], other, *PARTS[i + 1 :]))
    refused(KEY, sealed, bind(*PARTS[:i], *PARTS[i + 1 :]))
    swapped = list(PARTS)
    swapped[i], swapped[i - 1] = swapped[i - 1], swapped[i]
    refused(KEY, sealed, bind(*swapped))


@pytest.mark.parametrize("key", [bytes(32), KEY[::-1], KEY[:16], KEY[:24], b"", KEY + b"\0"])
def test_another_key_or_half_a_key_opens_nothing(key: bytes) -> None:
    """Also where the length would be good for AES-128 or AES-192."""
    refused(key, seal(KEY, PLAIN, BOUND), BOUND)


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33])
def test_nothing_is_sealed_under_half_a_key(length: int) -> None:
    """AES-128 and AES-192 are not what was promised."""
    with pytest.raises(EvidenceError):
        seal(bytes(length), PLAIN, BOUND)


@given(st.lists(st.binary(max_size=5), max_size=4), st.lists(st.binary(max_size=5), max_size=4))
def test_two_lists_of_parts_never_look_alike(one: list[bytes], other: list[bytes]) -> None:
    """Each part carries its length, so moving a byte from one part to the next changes the whole."""
    assert (bind(*one) == bind(*other)) == (one == other)
    assert (token(KEY, *one) == token(KEY, *other)) == (one == other)
    assert (digest(*one) == digest(*other)) == (one == other)


def test_tokens_hang_on_their_key() -> None:
    """A keyed hash differs under every key and is compared as a whole."""
    assert token(KEY, b"x") != token(KEY[::-1], b"x")
    assert len(token(KEY)) == 32
    require_token(token(KEY, b"x"), token(KEY, b"x"), "a manifest")
    for wrong in (token(KEY, b"y"), token(KEY, b"x")[:-1], b""):
        with pytest.raises(EvidenceError, match="a manifest"):
            require_token(token(KEY, b"x"), wrong, "a manifest")


def test_keys_are_derived_for_one_use() -> None:
    """The same secret gives unrelated keys for two uses, and the same key for the same use."""
    assert derive_key(KEY, "directory") == derive_key(KEY, "directory")
    assert (
        len({derive_key(KEY, "directory"), derive_key(KEY, "tables"), derive_key(bytes(32), "tables")}) == 3
    )
    assert len(new_key()) == 32
    assert new_key() != new_key()
