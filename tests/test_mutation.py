"""The list of `mutation.py` is of today's code; whether each mistake is caught takes an hour, by hand."""

from pathlib import Path

import mutation

ROOT = Path(__file__).resolve().parent.parent


def test_each_mistake_names_one_place_of_the_code_and_tests_that_exist():
    assert mutation.stale(ROOT) == []
    for mutant in mutation.MUTANTS:
        for test in mutant.tests:
            file, _, name = test.partition("[")[0].partition("::")
            assert not name or f"def {name}(" in (ROOT / "tests" / file).read_text(), mutant.name
