"""Which parts of a job's data are personal: as its model says, in every form that a model has."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from shared.handlers import Personal
from shared.job_types import BUILT_IN, check, of_plugins
from shared.job_types import plugins as plugged
from shared.personal.marks import has_personal, marks_of, sealed_data
from shared.personal.sealing import Place, is_sealed, opened, opened_at

JOB, SECRET = "01890a5d-ac96-8000-8000-000000000001", b"k" * 32


class Person(BaseModel):
    name: Annotated[str, Personal]
    friend: "Person | None" = None
    age: int = 0


class Left(BaseModel):
    kind: Literal["left"]
    value: Annotated[str, Personal]


class Right(BaseModel):
    kind: Literal["right"]
    value: str


class Everything(BaseModel):
    plain: str = ""
    mail: Annotated[str, Personal] | None = None
    people: list[Person] = []
    by_name: dict[str, Annotated[str, Personal]] = {}
    by_pattern: dict[Annotated[str, Field(pattern="^a")], Annotated[str, Personal]] = {}
    pair: tuple[int, Annotated[str, Personal]] | None = None
    whole: Annotated[Person, Personal] | None = None
    side: Annotated[Left | Right, Field(discriminator="kind")] | None = None
    either: Annotated[int, Personal] | str = 0
    by_schema: str = Field(default="", json_schema_extra={"x-personal": True})


class Nothing(BaseModel):
    name: str = Field(description="x-personal: true", default="x-personal")


class Wholly(BaseModel):
    model_config = {"json_schema_extra": {"x-personal": True}}
    name: str


class Ours:
    """Of which JSON Schema knows nothing."""

    def __init__(self, text: str) -> None:
        self.text = text


class Aliased(BaseModel):
    """Whose values are kept under other names than those they are sent under."""

    model_config = ConfigDict(populate_by_name=True, arbitrary_types_allowed=True)
    alias: Annotated[str, Personal] = Field(default="", alias="by-alias")
    sent: Annotated[str, Personal] = Field(default="", validation_alias="sent-as")
    chosen: Annotated[str, Personal] = Field(default="", validation_alias=AliasChoices("a", "b"))
    shown: Annotated[str, Personal] = Field(default="", serialization_alias="shown-as")
    ours: Annotated[
        Ours, BeforeValidator(Ours), PlainSerializer(lambda ours: ours.text, return_type=str), Personal
    ] = Field(default_factory=lambda: Ours(""))


DATA: dict[str, Any] = {
    "plain": "plain",
    "mail": "m",
    "people": [{"name": "n", "age": 3, "friend": {"name": "f", "age": 4}}],
    "by_name": {"x": "x"},
    "by_pattern": {"ab": "x"},
    "pair": [1, "two"],
    "whole": {"name": "w"},
    "side": {"kind": "left", "value": "v"},
    "either": 7,
    "by_schema": "s",
}
S = "sealed"


def shape(value):
    match value:
        case dict() if is_sealed(value):
            return S
        case dict():
            return {name: shape(inner) for name, inner in value.items()}
        case list():
            return list(map(shape, value))
        case _:
            return value


def test_marked_values_are_sealed_wherever_a_model_has_them():
    sealed = sealed_data(Everything, DATA, SECRET, JOB)
    assert shape(sealed) == {
        "plain": "plain",
        "mail": S,
        "people": [{"name": S, "age": 3, "friend": {"name": S, "age": 4}}],
        "by_name": {"x": S},
        "by_pattern": {"ab": S},
        "pair": [1, S],
        "whole": S,
        "side": {"kind": "left", "value": S},
        "either": S,
        "by_schema": S,
    }
    assert DATA == opened(sealed, {JOB: SECRET}) == opened_at(sealed, SECRET, Place(JOB, "job_data"))


def test_a_member_of_a_union_is_marked_by_itself():
    assert not has_personal(Everything, {"side": {"kind": "right", "value": "v"}})


def test_sealing_again_changes_nothing():
    sealed = sealed_data(Everything, DATA, SECRET, JOB)
    assert sealed == sealed_data(Everything, sealed, SECRET, JOB)


def test_what_is_null_or_absent_needs_no_key():
    assert not has_personal(Everything, {"plain": "plain", "mail": None})
    assert has_personal(Everything, {"mail": ""})


def test_a_model_without_marks_has_none_whatever_it_says_of_itself():
    assert marks_of(Nothing) is None
    assert marks_of(None) is None
    data = {"name": "n"}
    assert data is sealed_data(Nothing, data, SECRET, JOB)


def test_a_model_that_is_marked_as_a_whole_seals_each_member():
    assert shape(sealed_data(Wholly, {"name": "n"}, SECRET, JOB)) == {"name": S}


def test_a_plug_ins_marks_hold_as_an_operation_of_custom_too():
    async def greet(run):
        """Greet somebody."""

    greet.model = Person
    known = of_plugins({"greet": plugged.of("greet", greet, "theirs")})
    assert shape(sealed_data(known.types["greet"].model, {"name": "n"}, SECRET, JOB)) == {"name": S}
    custom = known.types["custom"].model
    told = {"operation": "greet", "parameters": {"name": "n", "age": 1}}
    assert shape(sealed_data(custom, told, SECRET, JOB)) == {
        "operation": "greet",
        "parameters": {"name": S, "age": 1},
    }
    assert not has_personal(custom, {"operation": "echo", "parameters": {"name": "n"}})


@pytest.mark.parametrize("name", ["by-alias", "alias", "sent-as", "a", "b", "shown", "ours"])
def test_a_value_is_sealed_under_whichever_name_it_is_kept(name):
    async def write(run):
        """Write somebody."""

    write.model = Aliased
    known = of_plugins({"write": plugged.of("write", write, "theirs")})
    for job_type, told in (
        ("write", {name: "m"}),
        ("custom", {"operation": "write", "parameters": {name: "m"}}),
    ):
        data = check(job_type, told, known=known)
        sealed = shape(sealed_data(known.types[job_type].model, data, SECRET, JOB))
        assert "'m'" not in str(sealed)
        assert S in str(sealed)


def test_a_model_that_json_schema_has_no_word_for_stands_in_nobodys_way():
    async def write(run):
        """Write something."""

    class Strange(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        ours: Annotated[Ours, BeforeValidator(Ours), PlainSerializer(lambda ours: ours.text)]

    write.model = Strange
    known = of_plugins({"write": plugged.of("write", write, "theirs")})
    assert marks_of(known.types["write"].model) is None
    assert marks_of(known.types["custom"].model) is None


MARKED = {
    "email_notification": {
        "recipient", "recipients", "cc", "bcc", "reply_to", "subject", "body", "html", "context",
    },
    "report_generation": {"recipients"},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_what_our_types_mark(name):
    model = BUILT_IN[name].model
    if name not in MARKED:
        assert marks_of(model) is None
        return
    fields = {field.alias or at for at, field in model.model_fields.items()}
    sealed = sealed_data(model, dict.fromkeys(fields, "x"), SECRET, JOB)
    assert MARKED[name] == {field for field, value in sealed.items() if value != "x"}


def test_a_mark_is_seen_in_the_json_schema():
    schema = BUILT_IN["email_notification"].schema()
    assert schema["properties"]["cc"]["x-personal"] is True
    assert "x-personal" not in schema["properties"]["attachments"]
