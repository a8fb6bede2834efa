import pytest

from common.errors import UserError
from common.settings import changes, flat, refuse_changes

BEFORE = {"model.sigma": 2.0, "data.root": "a", "trainer.max_epochs": 9, "trainer.precision": "32-true", "save.best": 1}


def test_settings_are_flat_without_what_says_where_to_start() -> None:
    nested = {"model": {"sigma": 2.0, "net": {"options": {}}}, "run": "mine", "trainer": {"default_root_dir": "x"}}
    assert flat(nested | {"data": {"size_hw": (2, 3)}}) == {
        "model.sigma": 2.0,
        "model.net.options": {},
        "data.size_hw": [2, 3],
    }


def test_changes_name_what_came_and_went() -> None:
    assert changes({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 4, "d": 5}) == {
        "b": (2, 4),
        "c": (3, "(absent)"),
        "d": ("(absent)", 5),
    }


def test_what_may_change_is_said() -> None:
    now = BEFORE | {"data.root": "b", "trainer.max_epochs": 12, "save.best": 3}
    assert refuse_changes(BEFORE, now, where="x.ckpt") == [
        "changed, from here on:   data.root: 'a' -> 'b'",
        "changed, from here on:   trainer.max_epochs: 9 -> 12",
        "changed, from here on:   save.best: 1 -> 3",
    ]
    assert refuse_changes(BEFORE, dict(BEFORE), where="x.ckpt") == []


@pytest.mark.parametrize(
    ("key", "value"), [("model.sigma", 3.0), ("trainer.precision", "16-mixed"), ("data.batch_size", 8), ("new", 1)]
)
def test_another_configuration_is_refused_with_the_keys_that_differ(key: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"x\.ckpt: of a run with other settings:\n  {key}: .* -> {value!r}\n.*--run"):
        refuse_changes(BEFORE, BEFORE | {key: value, "trainer.max_epochs": 1}, where="x.ckpt")
