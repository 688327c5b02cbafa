# SPDX-License-Identifier: Apache-2.0
"""An image gets the message of its stamp, and no image waits longer than it was told to."""

import threading
import time

from centertrack_ros.io.companions import Companions

MS = 1_000_000


def test_the_nearest_message_within_the_tolerance_is_found_whatever_the_order_of_arrival() -> None:
    found: Companions[str] = Companions()
    assert found.nearest(0, 10**18) is None
    for stamp in (40, 10, 70):
        found.add(stamp * MS, f"at {stamp}")
    assert found.nearest(10 * MS) == "at 10"
    assert found.nearest(12 * MS) is None
    assert found.nearest(56 * MS, 20 * MS) == "at 70"
    assert found.nearest(100 * MS, 20 * MS) is None


def test_only_the_last_arrivals_are_kept_and_equal_stamps_replace_each_other() -> None:
    found: Companions[int] = Companions(keep=3)
    for value, stamp in enumerate((1, 2, 2, 3, 4)):
        found.add(stamp, value)
    assert [found.nearest(stamp) for stamp in (1, 2, 3, 4)] == [None, 2, 3, 4]
    found.clear()
    assert found.nearest(4, 100) is None


def test_a_late_message_is_waited_for_and_a_missing_one_costs_no_more_than_the_timeout() -> None:
    found: Companions[str] = Companions()
    found.add(10, "older")
    timer = threading.Timer(0.05, found.add, (20, "late"))
    timer.start()
    assert found.wait(20, 0, 30.0) == "late"
    timer.join()
    start = time.monotonic()
    assert found.wait(30, 5, 0.05) is None
    assert time.monotonic() - start >= 0.05
    assert found.wait(25, 5, 0.0) == "late"  # what is there is near enough, although nothing newer came


def test_a_message_that_is_later_than_the_image_ends_the_wait() -> None:
    found: Companions[str] = Companions()
    found.add(40, "next")
    start = time.monotonic()
    assert found.wait(20, 5, 30.0) is None
    assert time.monotonic() - start < 15
