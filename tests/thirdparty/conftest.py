"""Distributions in here have test suites of their own, which run after they were installed: see test_thirdparty.py."""

from __future__ import annotations

collect_ignore_glob = ["nbarec-*"]
