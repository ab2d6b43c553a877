"""Times: what is one, and that whole columns give what single cells give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.moments import moment, moments

MIDSUMMER = 1_751_317_500  # 2025-06-30T21:05:00Z


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("-1", -1),
        ("1751317500", MIDSUMMER),
        ("1751317500.999", MIDSUMMER),
        ("-0.5", -1),
        ("1.7513175e9", MIDSUMMER),
        (" 1751317500 ", MIDSUMMER),
        ("2025-06-30", MIDSUMMER - 75_900),
        ("2025-06-30T21:05:00", MIDSUMMER),
        ("2025-06-30 21:05:00", MIDSUMMER),
        ("2025-06-30T21:05", MIDSUMMER),
        ("2025-06-30T21:05:00Z", MIDSUMMER),
        ("2025-06-30T23:05:00+02:00", MIDSUMMER),
        ("2025-06-30T23:05:00+0200", MIDSUMMER),
        ("2025-06-30T23:05:00+02", MIDSUMMER),
        ("2025-06-30T15:35:00-05:30", MIDSUMMER),
        ("2025-06-30T21:05:00.25", MIDSUMMER),
        ("2025-06-30T21:05:00,25Z", MIDSUMMER),
        ("2025-06-30 21:05:00.999999999+00:00", MIDSUMMER),
        ("1969-12-31T23:59:59.5", -1),
        ("2024-02-29", 1_709_164_800),
        ("0001-01-01", -62_135_596_800),
        ("9999-12-31T23:59:59", 253_402_300_799),
    ],
)
def test_a_moment_is_the_second_it_lies_in(text: str, seconds: int) -> None:
    assert moment(text) == seconds
    assert moments([text]).tolist() == [seconds]
    assert moments([text] * 3).tolist() == [seconds] * 3


@pytest.mark.parametrize(
    "text",
    [
        "soon",
        "",
        "nan",
        "inf",
        "-Infinity",
        "1e400",
        "1_000",
        "30.06.2025",
        "2025-6-30",
        "2025-02-29",
        "2025-13-01",
        "2025-00-10",
        "2025-06-31",
        "0000-01-01",
        "2025-06-30T25:00:00",
        "2025-06-30T21:60:00",
        "2025-06-30T21:05:60",
        "2025-06-30x21:05:00",
        "2025-06-30T21:05.5",
        "2025-06-30T21:05:00+24:00",
        "2025-06-30T21:05:00+02:60",
        "2025-W27-1",
        "２０２５-06-30",
    ],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    for refused in ([text], [text, text], ["2025-06-30", text], [text, "1751317500"]):
        with pytest.raises(ValueError, match="is not a time"):
            moments(refused)


@pytest.mark.parametrize("text", ["1751317500000", "1e12", "-99999999999", "9" * 30, "9999-12-31T23:59:59-01:00"])
def test_moments_outside_the_calendar_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"outside the years 1 to 9999; epoch times are in seconds"):
        moments([text])


def test_a_column_without_rows() -> None:
    assert moments([]).shape == (0,)


stamps = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30))
zones = st.sampled_from(["", "Z", "+02:00", "-11:30", "+00:00"])
formats = st.sampled_from(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f"])


def written(stamp: datetime, form: str, zone: str) -> str:
    text = stamp.strftime(form)
    return "0" * (text.index("-") * -1 + 4) + text + zone  # some platforms write the year 33 as 33


def reference(stamp: datetime, zone: str) -> int:
    hours = {"+02:00": 2, "-11:30": -11.5}.get(zone, 0)
    return (stamp.replace(tzinfo=UTC) - timedelta(hours=hours) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        seconds=1
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(stamps, min_size=1, max_size=8), formats, zones)
def test_columns_of_one_shape_agree_with_the_calendar(column: list[datetime], form: str, zone: str) -> None:
    found = moments([written(stamp, form, zone) for stamp in column])
    assert found.tolist() == [reference(stamp, zone) for stamp in column]


cells = st.one_of(
    st.integers(-(10**13), 10**13).map(str),
    st.floats(width=32).map(str),
    st.builds(written, stamps, formats, zones),
    st.text("0123456789-T:Z+. ", min_size=1, max_size=20),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(cells, min_size=1, max_size=4))
def test_a_column_takes_what_each_cell_takes_and_no_more(column: list[str]) -> None:
    try:
        expected = [moment(cell) for cell in column]
    except ValueError:
        with pytest.raises(ValueError, match=r"time"):
            moments(column)
    else:
        assert moments(column).tolist() == expected
