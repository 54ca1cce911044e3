"""What a refused URL of a store shows of itself: never what may be secret."""

from __future__ import annotations

import pytest

from lexigram_actors.errors import ConfigurationError
from lexigram_actors.storage import open_store
from lexigram_actors.storage.opening import shown


@pytest.mark.parametrize(
    "url",
    [
        "mysql://h/?pwd=CANARY",
        "mysql://h/CANARY",
        "redis://:CANARY@h",
        "CANARY@h:5432/db",
        "h/db?token=CANARY",
        "user@h/CANARY",
        "Server=h;Pwd=CANARY",
        "sqlite:///f.db?key=CANARY",
        "sqlite:f.db#CANARY",
        "sqlite://me@h/CANARY",
        "memory:?key=CANARY",
        "SQLite:///f.db?key=CANARY",
    ],
)
async def test_a_refused_url_shows_nothing_that_may_be_secret(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        async with open_store(url):
            pass
    assert "CANARY" not in str(caught.value)
    assert "CANARY" not in repr(caught.value.to_dict())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://h/db", "'mysql:...'"),
        ("sqlite:f.db", "'sqlite:f.db'"),
        ("sqlite:///a.db?x=1", "'sqlite:...'"),
        ("sqlite:///:memory:", "'sqlite:///:memory:'"),
        ("memory://", "'memory://'"),
        ("app.db", "'app.db'"),
        ("", "''"),
        ("a b:c", "'...'"),
    ],
)
def test_a_refused_url_shows_its_scheme_and_the_path_of_a_file(url: str, said: str) -> None:
    assert shown(url) == said
