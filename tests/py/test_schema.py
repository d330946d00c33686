"""The files are what schema.json says, and schema.json refuses what is not."""

import copy
import json
import re
from importlib import resources

import jsonschema
import pytest

from filar import lab
from filar.lab import jsonfile
from filar.lab.report import Report
from results import result


@pytest.fixture(scope="module")
def schema():
    """As it stands in the package."""
    return json.loads(resources.files("filar.lab").joinpath("schema.json").read_text())


@pytest.fixture(scope="module")
def validator(schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_a_made_up_result_and_report_are_valid(validator):
    validator.validate(result().to_dict())
    validator.validate(Report([result(), result("two")], mode="quick").to_dict())
    validator.validate(Report().to_dict())


def test_a_real_result_is_valid(validator):
    validator.validate(json.loads(lab.run("floors", quick=True).to_json()))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("host"),
        lambda d: d.pop("claim"),
        lambda d: d.update(verdict_word="true"),
        lambda d: d.update(schema="filar-result/2"),
        lambda d: d["rows"][0].pop("samples"),
        lambda d: d["rows"][0].update(samples=["1"]),
        lambda d: d["rows"][0].update(extra=1),
        lambda d: d.update(extra=1),
        lambda d: d["conditions"].update(badge={"level": "great", "text": ""}),
    ],
)
def test_what_is_not_a_result_is_refused(validator, spoil):
    data = copy.deepcopy(result().to_dict())
    spoil(data)
    assert not validator.is_valid(data)


def test_the_versions_of_code_and_schema_agree(schema):
    assert schema["$defs"]["result"]["properties"]["schema"]["const"] == jsonfile.RESULT_SCHEMA
    assert schema["$defs"]["report"]["properties"]["schema"]["const"] == jsonfile.REPORT_SCHEMA


def test_the_page_names_every_field_of_host_and_conditions_and_result(schema):
    page = resources.files("filar.lab").joinpath("SCHEMA.md").read_text()
    words = set(re.findall(r"[a-z0-9_]+", page))
    measured = lab.run("floors", quick=True)
    for part in (schema["$defs"]["result"]["properties"], measured.host, measured.conditions):
        missing = [name for name in part if name not in words]
        assert not missing
