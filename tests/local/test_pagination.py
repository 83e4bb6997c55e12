from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from replicate_async.local.http.pagination import Cursor, paginate


@given(st.floats(0, 4e9).map(lambda value: round(value, 6)), st.booleans())
def test_a_cursor_is_the_same_after_encode_and_decode(position: float, reverse: bool) -> None:
    cursor = Cursor(position, reverse)

    assert Cursor.decode(cursor.encode()) == cursor


def test_a_cursor_looks_like_djangos() -> None:
    cursor = "cD0yMDIzLTExLTE1KzA1JTNBMDMlM0E0Ny4yMDM5MDMlMkIwMCUzQTAw"

    assert Cursor.decode(cursor).encode() == cursor


@given(
    st.lists(st.integers(0, 1000), unique=True, max_size=30),
    st.integers(1, 7),
    st.booleans(),
)
def test_following_next_visits_everything_once_in_order(
    items: list[int], size: int, ascending: bool
) -> None:
    url = URL("http://localhost/v1/things?cursor=&sort=x")
    found: list[int] = []
    pages: list[list[int]] = []
    while True:
        page = paginate(
            items, url, size=size, position=float, view=lambda item: item, ascending=ascending
        )
        found += page["results"]
        pages.append(page["results"])
        if page["next"] is None:
            break
        url = URL(page["next"], encoded=True)
        assert url.query["sort"] == "x"

    assert found == sorted(items, reverse=not ascending)
    for expected in pages[-2::-1]:
        url = URL(page["previous"], encoded=True)
        page = paginate(
            items, url, size=size, position=float, view=lambda item: item, ascending=ascending
        )
        assert page["results"] == expected
    assert page["previous"] is None
