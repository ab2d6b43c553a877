"""Checks of whatever is asked in batches: that each row is answered for itself, and that nothing given is changed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nbarec.arrays import AnyArray
from nbarec.contracts import guarded
from nbarec.errors import ContractError
from nbarec.testing.check_worlds import bare_world, disliked_world, main_worlds, silent_world, smallest_worlds
from nbarec.testing.copies import differing, leaves, memory_mapped, read_only
from nbarec.testing.forms import told
from nbarec.testing.questions import Who
from nbarec.testing.subject import REFUSALS, CheckFailed, Fit, Subject


def accepts_a_world(subject: Subject) -> None:
    """It fits and answers in one of the ordinary worlds at least."""
    refused = []
    for world in main_worlds():
        try:
            subject.fit(world)
        except REFUSALS as error:
            refused.append(f"{world.name}: {error}")
        except ContractError as error:
            raise CheckFailed(f"{error}, in the world {world.name!r}: {world.what}") from error
    if len(refused) == len(main_worlds()):
        reasons = "; ".join(refused)
        raise CheckFailed(
            f"it refuses every world, so nothing can be checked ({reasons}); give it parameters that fit the columns "
            "and generators of these worlds, which nbarec.testing.checks lists"
        )


def dtypes_and_shapes(subject: Subject) -> None:
    """What it returns has the types, dtypes and lengths that its base class asks for."""
    for fit in subject.fits():
        subject.form.check_arrays(subject.name, fit.answer, fit.question)


def batch_equals_single(subject: Subject) -> None:
    """A user alone gets, to the bit, what he gets in a batch."""
    for fit in subject.fits():
        together = subject.form.rows(fit.answer, fit.question)
        for row, expected in enumerate(together):
            alone = subject.rows(fit.state, fit.question.take(np.array([row])))[0]
            if alone != expected:
                raise CheckFailed(
                    f"in the world {fit.world.name!r} row {row} gets {told([expected])} in a batch of "
                    f"{len(together)}, and {told([alone])} alone; compute each row from itself, in an order that "
                    "depends on nothing else (the last bits of a matrix product depend on the batch)"
                )


def order_of_the_batch(subject: Subject) -> None:
    """The order of the rows, and who else is asked for, make no difference to any row."""
    for fit in subject.fits():
        expected = subject.form.rows(fit.answer, fit.question)
        rng = np.random.default_rng(0)
        for order in (np.arange(len(expected))[::-1], rng.permutation(np.repeat(np.arange(len(expected)), 2))):
            _same_in_order(subject, fit, expected, order)


def _same_in_order(subject: Subject, fit: Fit, expected: Sequence[str], order: AnyArray) -> None:
    found = subject.rows(fit.state, fit.question.take(order))
    for row, (asked, got) in enumerate(zip(order.tolist(), found, strict=True)):
        if got != expected[asked]:
            raise CheckFailed(
                f"in the world {fit.world.name!r} the user of row {asked} gets {told([expected[asked]])}, and "
                f"{told([got])} as row {row} of a batch in another order; rows may come in any order, and twice"
            )


def empty_batch(subject: Subject) -> None:
    """A batch of no users gets an empty answer with the same dtypes."""
    for fit in subject.fits():
        subject.rows(fit.state, fit.question.take(np.empty(0, np.int64)))


def unknown_users(subject: Subject) -> None:
    """Users without a history, users nobody knows (-1), and these with a history are answered."""
    for fit in subject.fits():
        subject.rows(fit.state, subject.form.ask(subject.component, fit.world.data, Who.strangers(fit.world.data)))


def one_user_one_item(subject: Subject) -> None:
    """Worlds of one user, of one item, and of both are enough."""
    subject.survives(smallest_worlds())


def no_events(subject: Subject) -> None:
    """A world in which nothing ever happened is refused in words or answered."""
    subject.survives((silent_world(),))


def no_attributes(subject: Subject) -> None:
    """Data without attributes, times and kinds are refused in words or answered."""
    subject.survives((bare_world(),))


def only_dislikes(subject: Subject) -> None:
    """A world of negative weights alone is refused in words or answered."""
    subject.survives((disliked_world(),))


def read_only_inputs(subject: Subject) -> None:
    """It writes into nothing that it is given: in a pipeline, all arrays are read-only."""
    for fit in subject.fits():
        with guarded(subject.name):
            subject.form.learn(subject.component, read_only(fit.world.data), np.random.default_rng(0))
            subject.form.answer(subject.component, read_only(fit.state), read_only(fit.question))


def memory_mapped_inputs(subject: Subject) -> None:
    """It works on arrays that are memory-mapped from files, as those of a loaded model are, and says the same."""
    for fit in subject.fits()[:1]:
        expected = subject.form.rows(fit.answer, fit.question)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            data, state, question = memory_mapped((fit.world.data, fit.state, fit.question), Path(folder))
            with guarded(f"{subject.name}, on memory-mapped arrays,"):
                subject.form.learn(subject.component, data, np.random.default_rng(0))
                answer = subject.form.answer(subject.component, state, question)
            found = subject.form.rows(answer, question)
            del data, state, question
        if found != expected:
            raise CheckFailed(
                f"on memory-mapped arrays it answers {told(found)}, and on others with the same values "
                f"{told(expected)}; it must not look at where arrays are kept"
            )


def inputs_not_mutated(subject: Subject) -> None:
    """Data, requests, pools, states and its own parameters are the same after it worked with them."""
    for fit in subject.fits():
        data, state, question = (read_only(value) for value in (fit.world.data, fit.state, fit.question))
        given = {"data": data, "state": state, "question": question, "parameters": subject.component}
        before = leaves(given)
        with guarded(subject.name):
            subject.form.learn(subject.component, data, np.random.default_rng(0))
            subject.form.answer(subject.component, state, question)
        if changed := differing(before, leaves(given)):
            raise CheckFailed(
                f"in the world {fit.world.name!r} it changed {', '.join(changed[:3])}; what it is given belongs to "
                "others too: change a copy, and keep what you learn in the state that fit returns"
            )


ANSWER_CHECKS = (
    batch_equals_single,
    order_of_the_batch,
    empty_batch,
    unknown_users,
    one_user_one_item,
    no_events,
    no_attributes,
    only_dislikes,
    read_only_inputs,
    memory_mapped_inputs,
    inputs_not_mutated,
)
