"""What a stage's output is known by, and what is kept of it: plain values, no I/O.

Two runs have the same key only where everything that decides the output is the same: the stage,
the tenant, the inputs, the version of the handler and the configuration. Inputs and configuration
go into it as the digest of their stored form (see `storage.codec`) brought into one order: dicts
by their keys, sets by their items. So a key is the same in every process and on every machine,
and whatever the codec tells apart (`1`, `1.0`, `True`, `"1"`; lists and tuples; two time zones of
one instant) has keys of its own. What has no stored form has no key either; a `repr` may hold an
address, or leave out what matters.

Rejected: the fingerprints of bulk jobs, which take lists and tuples for one, and NaN for None. To
recognise an input that is enough; to hand out an output in place of running a stage it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, Self, final

import attrs

from lexigram_actors.checks import given, require, whole
from lexigram_actors.errors import ConfigurationError, NotStorableError, StoreCorruptedError
from lexigram_actors.storage.codec import Codec
from lexigram_actors.storage.encoding import has_surrogates

LONGEST_NAME: Final = 200

SCHEME: Final = b"lexigram_actors content 1\n"
"""Stands before whatever is digested: a change of the form gives new keys, not wrong hits."""


# --- canonical bytes -------------------------------------------------------------------------


def canonical_bytes(value: Any, codec: Codec | None = None) -> bytes:
    """Return bytes that are the same for the same content, whatever the process.

    Args:
        codec: Knows your registered types, and has the limits. None: one with no types of yours.

    Raises:
        NotStorableError: Some part has no stored form, or the whole is over a limit of the codec;
            `path` says where.
    """
    import orjson

    plain = orjson.loads((codec or Codec()).dumps(value))
    try:
        return orjson.dumps(in_order(plain), option=orjson.OPT_SORT_KEYS)
    except RecursionError:
        raise NotStorableError("nested too deep for the place of this call") from None


def in_order(plain: Any) -> Any:
    """Return the codec's plain form with what has no order of its own brought into one.

    A list that begins with a tag was made by the codec; one of the user's that looks like it is
    tagged `$list` itself, so that its items stay where they are. Text keys of dicts are left to
    the writer, which sorts them.
    """
    if type(plain) is dict:
        return {key: in_order(item) for key, item in plain.items()}
    if type(plain) is not list:
        return plain
    parts = [in_order(item) for item in plain]
    match plain:
        case ["$set" | "$frozenset", *_]:
            return [parts[0], *sorted(parts[1:], key=sortable)]
        case ["$dict", *_]:
            pairs = sorted(zip(parts[1::2], parts[2::2], strict=True), key=sortable)
            return [parts[0], *pairs]
        case _:
            return parts


def sortable(plain: Any) -> bytes:
    """Return what plain data is sorted by, whatever types stand side by side."""
    import orjson

    return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)


# --- keys ------------------------------------------------------------------------------------


def check_name(what: str, name: object) -> None:
    """Refuse a name that some store could not keep, or that nobody meant.

    Raises:
        ConfigurationError: No text, empty, over 200 characters, with a NUL character or a lone
            surrogate.
    """
    fits = isinstance(name, str) and 0 < len(name) <= LONGEST_NAME
    if not fits or "\0" in str(name) or has_surrogates(str(name)):
        raise ConfigurationError(
            f"{what} must be a str of 1 to {LONGEST_NAME} characters, without NUL characters and "
            f"lone surrogates, and is {given(name)}"
        )


@final
@attrs.frozen
class ContentCheckpointKey:
    """What the output of a stage is kept under; equal where all that decides the output is.

    Made by `compute`. Another tenant has other keys, and None is a tenant that no name stands for.
    """

    stage_id: str
    tenant_id: str | None
    input_hash: bytes = attrs.field(repr=lambda digest: digest.hex())
    """SHA-256 of the inputs."""

    config_hash: bytes = attrs.field(repr=lambda digest: digest.hex())
    """SHA-256 of the handler's version and of what in the configuration affects the output."""

    def __attrs_post_init__(self) -> None:
        check_name("stage_id", self.stage_id)
        if self.tenant_id is not None:
            check_name("tenant_id", self.tenant_id)
        for name in ("input_hash", "config_hash"):
            if type(getattr(self, name)) is not bytes:
                raise ConfigurationError(f"{name} must be bytes: {given(getattr(self, name))}")

    @classmethod
    def compute(
        cls,
        stage_id: str,
        tenant_id: str | None,
        inputs: Any,
        stage_handler_version: str,
        config_affecting_output: Any,
        *,
        codec: Codec | None = None,
    ) -> Self:
        """Return the key of this content.

        Args:
            codec: Knows your types among the inputs and the configuration. None: there are none.

        Raises:
            NotStorableError: The inputs or the configuration have no stable form; `path` says
                where, the message in which of them.
            ConfigurationError: The stage or the tenant is no usable name.
        """
        config = {"version": stage_handler_version, "config": config_affecting_output}
        return cls(
            stage_id,
            tenant_id,
            digest_of("inputs", inputs, codec),
            digest_of("config", config, codec),
        )

    def as_str(self) -> str:
        """Return the key as JSON text: printable ASCII, and different for different keys."""
        import json

        parts = (self.stage_id, self.tenant_id, self.input_hash.hex(), self.config_hash.hex())
        return json.dumps(parts, separators=(",", ":"))

    def digest(self) -> str:
        """Return the SHA-256 of the key, as 64 hexadecimal digits: what stores address it by."""
        return sha256(SCHEME + self.as_str().encode()).hexdigest()


def digest_of(what: str, value: Any, codec: Codec | None) -> bytes:
    """Return the SHA-256 of a value's canonical bytes.

    Raises:
        NotStorableError: It has none; the path begins with `$.` and `what`.
    """
    try:
        return sha256(SCHEME + canonical_bytes(value, codec)).digest()
    except NotStorableError as error:
        raise NotStorableError(
            error.reason,
            path=f"$.{what}{error.path.removeprefix('$')}",
            cause=error.cause,
            hint="a stage's content needs a stable form: plain data, or a type that is registered "
            "with the codec of the checkpoint store",
        ) from error


# --- entries ---------------------------------------------------------------------------------


@final
@attrs.frozen
class ContentCheckpointEntry:
    """The output of a stage, and where it came from."""

    output: Any
    completed_at: datetime
    """When the stage had run: aware, kept as UTC."""

    stage_handler_version: str
    output_size_bytes: int
    """How large the output is in its stored form."""

    metadata: Mapping[str, Any] = attrs.field(factory=dict, converter=dict)
    """What whoever ran the stage wants to be known of it; storable, with text keys."""

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.completed_at, datetime) or self.completed_at.utcoffset() is None:
            raise ConfigurationError(
                "completed_at must be a datetime with a zone, as datetime.now(UTC), and is "
                f"{given(self.completed_at)}"
            )
        require("output_size_bytes", self.output_size_bytes, whole(least=0))
        object.__setattr__(self, "completed_at", self.completed_at.astimezone(UTC))


def seal(key: ContentCheckpointKey, entry: ContentCheckpointEntry, codec: Codec) -> str:
    """Return an entry as text that tells whether it is damaged, or another key's.

    Raises:
        NotStorableError: The output or the metadata has no stored form.
    """
    facts = {field: getattr(entry, field) for field in FIELDS}
    body = codec.dumps(facts).decode()
    return f"{checksum(key, body)} {body}"


def unseal(key: ContentCheckpointKey, sealed: object, codec: Codec) -> ContentCheckpointEntry:
    """Return a fresh copy of the entry that was sealed under this key.

    Raises:
        StoreCorruptedError: It is damaged, another key's, or has a type unknown to the codec.
    """
    found, _, body = sealed.partition(" ") if isinstance(sealed, str) else ("", "", "")
    if not found or found != checksum(key, body):
        raise damaged(key, "its checksum is wrong")
    try:
        return ContentCheckpointEntry(**codec.loads(body.encode()))
    except (TypeError, ValueError) as error:
        raise damaged(key, f"it is no entry ({error})") from error
    except StoreCorruptedError as error:
        raise damaged(key, error.message, error.hint) from error


def checksum(key: ContentCheckpointKey, body: str) -> str:
    """Return the SHA-256 over the key and the stored text, as far as is of use for damage."""
    text = f"{key.as_str()}\n{body}".encode("utf-8", "surrogatepass")
    return sha256(SCHEME + text).hexdigest()[:32]


def damaged(key: ContentCheckpointKey, why: str, hint: str | None = None) -> StoreCorruptedError:
    """Say that an entry cannot be read, and what to do about it."""
    return StoreCorruptedError(
        f"the checkpoint of stage {key.stage_id!r} under {key.digest()} is damaged: {why}",
        details={"stage": key.stage_id, "tenant": key.tenant_id, "key": key.as_str()},
        hint=hint or "store.evict(key) removes it; the stage then runs again",
    )


FIELDS: Final = tuple(field.name for field in attrs.fields(ContentCheckpointEntry))
