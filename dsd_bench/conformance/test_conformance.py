"""The checks as tests: ``pytest --pyargs dsd_bench.conformance [--dsd-plugin NAME]``."""

from __future__ import annotations

import warnings

import pytest

from dsd_bench.conformance.checks import Check, Result, checks_of
from dsd_bench.conformance.running import run_check, something_checked
from dsd_bench.conformance.subjects import Subject, select
from dsd_bench.errors import UsageError
from dsd_bench.plugins import catalogue


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each check of each component, and one that something applied."""
    known = catalogue()
    try:
        subjects = select(known, metafunc.config.getoption("--dsd-plugin"))
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    if "failure" in metafunc.fixturenames:
        metafunc.parametrize("failure", known.failed, ids=lambda failure: failure.distribution)
        return
    if "each" not in metafunc.fixturenames:
        metafunc.parametrize("subject", subjects, ids=_id)
        return
    pairs = [(subject, each) for subject in subjects for each in checks_of(subject.kind)]
    ids = [f"{_id(subject)}-{each.name}" for subject, each in pairs]
    metafunc.parametrize(("subject", "each"), pairs, ids=ids)


def _id(subject: Subject) -> str:
    return f"{subject.kind}-{subject.name}"


_RESULTS: dict[tuple[str, str, str], Result] = {}


def _result(subject: Subject, each: Check) -> Result:
    key = (subject.kind, subject.name, each.name)
    if key not in _RESULTS:
        _RESULTS[key] = run_check(each, subject)
    return _RESULTS[key]


def _tell(result: Result) -> None:
    if result.status in ("failed", "unexpected"):
        pytest.fail(result.reason, pytrace=False)
    if result.status == "expected":
        pytest.xfail(result.reason)
    if result.status == "skipped":
        pytest.skip(result.reason)
    if result.status == "warned":
        warnings.warn(f"{result.check}: {result.reason}", stacklevel=2)


def test_keeps_to(subject: Subject, each: Check) -> None:
    """One check of one component."""
    _tell(_result(subject, each))


def test_something_was_checked(subject: Subject) -> None:
    """Not every check of the component's kind was skipped."""
    own = [_result(subject, each) for each in checks_of(subject.kind) if each.kind == subject.kind]
    _tell(something_checked(own))


def test_loads(failure: object) -> None:
    """A plugin that could not be loaded."""
    pytest.fail(str(failure), pytrace=False)
