"""The comparison of what pages show with what comes out: it forgives what may differ, and nothing else."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest


@pytest.mark.parametrize(
    ("lines", "printed", "same"),
    [
        (["fit  0.017"], ["fit 1.250"], True),
        (["fit  0.017"], ["fit 1.25"], False),
        (["ndcg 0.1974 ±0.015"], ["ndcg  0.1974 ±0.015"], True),
        (["ndcg 0.1974 ±0.015"], ["ndcg  0.1974 ±0.025"], False),
        (["ndcg 0.1974"], ["ndcg  0.1994"], False),
        (["S1 0.0976284"], ["S1 0.0976285"], True),
        (["1,000 users"], ["1,001 users"], False),
        (["liked: a, ..."], ["liked: a, b, c"], True),
        (["a", "...", "d"], ["a", "b", "c", "d"], True),
        (["a", "...", "d"], ["a", "d"], True),
        (["a", "...", "d"], ["a", "d", "e"], False),
        (["a"], ["a", "b"], False),
        (["a", "b"], ["a"], False),
    ],
)
def test_outputs_are_compared(shown: ModuleType, lines: list[str], printed: list[str], same: bool) -> None:
    assert shown.agree(lines, printed) is same


GOOD = """\
Save this as `said.py`:

```python
print("one")
```

```console
$ python said.py
one
```

```python
print("two")
```

```text
two
```

```yaml
  - {use: popularity}
```

```
a picture
```
"""


def followed(shown: ModuleType, folder: Path, text: str) -> int:
    page = folder / "page.md"
    page.write_text(text, "utf-8")
    return len(shown.follow(page, folder / "work"))


def test_a_page_is_followed(shown: ModuleType, tmp_path: Path) -> None:
    assert followed(shown, tmp_path, GOOD) == 5


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("$ python said.py\none", "$ python said.py\nthree", r"page.md:7: .*prints:\none"),
        ("$ python said.py\none", "$ python unsaid.py\none", "page.md:7: .*No such file"),
        ("$ python said.py\none", "$ python said.py\nError: one", "page.md:7: "),
        ("$ python said.py\none", "$ rm said.py", "does not know how to run"),
        ("```text\ntwo", "```text\nthree", "page.md:12: the script prints:\ntwo"),
        ("```text\ntwo\n```\n", "", "page.md:12: the script prints:\ntwo"),
        ("```text\ntwo", "Or so:\n\n```text\ntwo", "page.md:12: the script prints:\ntwo"),
        ('print("two")\n', "1 / 0\n", "page.md:12: .*ZeroDivisionError"),
        ("```\n\n```yaml", "```\n\n```text\none\n```\n\n```yaml", "page.md:20: nobody checks a block of text"),
        ("```\n\n```\na picture", "```\n\n```text\none\n```\n\n```\na picture", "below yaml is no script's output"),
        ("{use: popularity}", "{use: popular}", "no config has these lines"),
        ("```yaml", "```json", "nobody checks a block of json"),
        ("```\na picture", "  ```\na picture", "indented or not closed"),
    ],
)
def test_what_is_not_true_is_found(shown: ModuleType, tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in GOOD
    with pytest.raises(AssertionError, match=f"(?s){complaint}"):
        followed(shown, tmp_path, GOOD.replace(old, new))
