"""Guarded calls of a plugin: whatever it raises names the stage, and the plugin's file and line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nbarec.contracts import check_scores, guarded
from nbarec.errors import ConfigError, ContractError, DataError, Mark, NbarecError, Problem, StoreError
from nbarec.ids import Ids
from nbarec.testing.worlds import pool_of, request_for, tiny_world

WHO = "candidates.similar (item_cf of nbarec:item_cf 0.1.0)"


def fails(call: Callable[[], object]) -> NbarecError:
    """What a guarded call raises."""
    with pytest.raises(NbarecError) as caught, guarded(WHO):
        call()
    return caught.value


def raises(error: BaseException) -> Callable[[], object]:
    def call() -> object:
        raise error

    return call


LINE = f"test_guarded.py:{raises.__code__.co_firstlineno + 2}"


class TestGuarded:
    def test_what_succeeds_is_left_alone(self) -> None:
        with guarded(WHO):
            done = True
        assert done

    def test_a_fault_of_the_plugin_names_stage_kind_file_and_line(self) -> None:
        original = TypeError("no such thing")
        error = fails(raises(original))
        assert type(error) is ContractError
        assert str(error) == f"{WHO} failed: TypeError: no such thing (in {LINE})"
        assert error.__cause__ is original

    def test_a_fault_without_words(self) -> None:
        assert str(fails(raises(RuntimeError()))) == f"{WHO} failed: RuntimeError (in {LINE})"

    def test_the_end_of_an_iteration_is_a_fault_too(self) -> None:
        assert "failed: StopIteration (in" in str(fails(lambda: next(iter([]))))

    def test_the_line_is_the_plugins_not_the_librarys_or_the_engines(self) -> None:
        first_line = self.test_the_line_is_the_plugins_not_the_librarys_or_the_engines.__code__.co_firstlineno
        error = fails(lambda: np.linalg.inv(np.zeros((2, 2))))
        assert f"LinAlgError: Singular matrix (in test_guarded.py:{first_line + 2})" in str(error)
        error = fails(lambda: Ids.of(["a"]).take([object()]))  # type: ignore[list-item]
        assert f"(in test_guarded.py:{first_line + 4})" in str(error)

    @pytest.mark.parametrize(
        "write",
        [
            lambda array: array.__setitem__(0, 1),
            lambda array: array.sort(),
            lambda array: np.add(array, 1, out=array),
        ],
    )
    def test_writing_into_the_request(self, write: Callable[[np.ndarray], object]) -> None:
        asked = request_for(tiny_world(), [0, 4, 1])
        error = fails(lambda: write(asked.user))
        assert type(error) is ContractError
        assert "read-only" in str(error.__cause__)
        assert "it wrote into a read-only array of the request, its pool or its state; change a copy" in str(error)
        assert asked.user.tolist() == [0, 4, 1]

    def test_a_value_error_of_another_kind_is_not_called_writing(self) -> None:
        assert str(fails(raises(ValueError("too many")))) == f"{WHO} failed: ValueError: too many (in {LINE})"

    def test_config_errors_keep_class_problems_and_marks(self) -> None:
        class WrongRule(ConfigError):
            pass

        mark = Mark("music.yaml", 7, 3)
        error = fails(raises(WrongRule([Problem("no column 'age'", mark), Problem("no column 'b'")])))
        assert type(error) is WrongRule
        assert error.problems == (Problem(f"{WHO}: no column 'age'", mark), Problem(f"{WHO}: no column 'b'"))
        assert str(error) == f"music.yaml:7:3: {WHO}: no column 'age'\n{WHO}: no column 'b'"

    def test_data_errors_and_the_like_keep_their_class(self) -> None:
        for kind in (DataError, StoreError):
            error = fails(raises(kind("row 3: no id")))
            assert type(error) is kind
            assert str(error) == f"{WHO}: row 3: no id"

    def test_the_label_stands_once(self) -> None:
        error = fails(lambda: check_scores(WHO, None, pool_of(request_for(tiny_world()), {})))
        assert str(error) == f"{WHO}: score is None; it must be a NumPy array of float32"

    @pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
    def test_a_wish_to_stop_passes(self, stop: type[BaseException]) -> None:
        with pytest.raises(stop), guarded(WHO):
            raise stop
