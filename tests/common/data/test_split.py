import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.split import group_of, split_names
from common.errors import UserError

SENTINEL = "S2A_MSIL1C_20180615T103021_N0206_R108_T32TNS_20180615T123456"
LANDSAT = "LC08_L1TP_193027_20180615_20180703_01_T1"


@pytest.mark.parametrize(
    ("name", "pattern", "group"),
    [
        (f"{SENTINEL}.npy", None, "S2A_20180615T103021_R108_T32TNS"),
        (f"{SENTINEL}_7_12.npy", None, "S2A_20180615T103021_R108_T32TNS"),
        (SENTINEL.replace("L1C", "L2A").replace("N0206", "N0500") + ".tif", None, "S2A_20180615T103021_R108_T32TNS"),
        (SENTINEL.replace("T32TNS", "T32TNT") + ".npy", None, "S2A_20180615T103021_R108_T32TNT"),
        (f"{LANDSAT}.tif", None, "LC08_193027_20180615"),
        (f"{LANDSAT}_B_3.tif", None, "LC08_193027_20180615"),
        (LANDSAT.replace("L1TP", "L2SP").replace("_01_", "_02_"), None, "LC08_193027_20180615"),
        (f"my_{SENTINEL}.npy", None, f"my_{SENTINEL}"),
        ("river.7.npy", None, "river.7"),
        ("river_7_b.npy", r"river_\d", "river_7"),
        ("river_7_b.npy", r"(river)_\d", "river"),
        ("river_7_b.npy", r"(lake)|river", "river"),
        ("river_7_b.npy", r"lake", "river_7_b"),
        (f"{SENTINEL}.npy", r"_(T\w{5})_", "T32TNS"),
    ],
)  # fmt: skip
def test_group_of_a_name(name: str, pattern: str | None, group: str) -> None:
    assert group_of(name, pattern) == group


names_of_groups = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 30)).map(lambda pair: f"g{pair[0]}_{pair[1]}.npy"),
    min_size=1,
    unique=True,
)


@settings(deadline=None, max_examples=60)
@given(names_of_groups, st.integers(0, 99), st.sampled_from([0.0, 0.15, 0.4]), st.sampled_from([0.0, 0.15, 0.5]))
def test_no_group_is_parted_and_none_is_lost(names: list[str], seed: int, val: float, test: float) -> None:
    split = split_names(names, seed=seed, val=val, test=test, pattern=r"g\d")
    assert sorted(name for part in split.names.values() for name in part) == sorted(names)
    groups = {part: {group_of(name, r"g\d") for name in found} for part, found in split.names.items()}
    assert not groups["train"] & groups["val"] | groups["train"] & groups["test"] | groups["val"] & groups["test"]
    assert split.groups == {part: len(found) for part, found in groups.items()}
    wanted = {"train", *(["val"] if val else []), *(["test"] if test else [])}
    filled = {part for part, found in split.names.items() if found}
    there = len(set.union(*groups.values()))
    if there >= len(wanted):
        assert filled == wanted
        assert split.note == ""
    else:
        assert filled == ({"train"} if there == 1 else {"train", "test"})
        assert f"{there} group" in split.note
    random.Random(seed).shuffle(names)
    assert split_names([*names, names[0]], seed=seed, val=val, test=test, pattern=r"g\d") == split


def test_shares_are_met() -> None:
    names = [f"{number}.npy" for number in range(513)]
    split = split_names(names, seed=3)
    assert {part: len(found) for part, found in split.names.items()} == {"train": 359, "val": 77, "test": 77}
    uneven = [f"g{group}_{number}.npy" for group in range(60) for number in range(1 + group % 9)]
    sizes = [len(found) for found in split_names(uneven, seed=0, pattern=r"g\d+").names.values()]
    assert sizes[1] / len(uneven) == pytest.approx(0.15, abs=0.02)
    assert sizes[2] / len(uneven) == pytest.approx(0.15, abs=0.02)


def test_one_large_group_is_for_training() -> None:
    names = [f"large_{number}.npy" for number in range(90)] + [f"{number}_.npy" for number in range(10)]
    for seed in range(20):
        split = split_names(names, seed=seed, pattern=r"[^_]+")
        assert "large_0.npy" in split.names["train"]


def test_another_seed_is_another_split_and_the_same_the_same_for_ever() -> None:
    names = [f"{letter}.npy" for letter in "abcdefghij"]
    letters = {part: "".join(name[0] for name in found) for part, found in split_names(names, seed=0).names.items()}
    assert letters == {"train": "abcdeh", "val": "fi", "test": "gj"}
    assert len({split_names(names, seed=seed).names["test"] for seed in range(20)}) > 5


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        ([], {}, "no names to split"),
        (["a.npy"], {"val": 0.5, "test": 0.5}, r"val, test: found 0\.5 and 0\.5, expected shares from 0, below 1"),
        (["a.npy"], {"val": -0.1}, "found -0.1"),
        (["a.npy"], {"val": float("nan")}, "found nan"),
        (["a.npy"], {"pattern": "("}, r"group: found '\(', expected a regular expression"),
        (["a.npy", "b.npy"], {"pattern": "x"}, r"group: 'x' is found in none of 2 names such as 'a\.npy'"),
    ],
)  # fmt: skip
def test_what_cannot_be_split_is_said(names: list[str], settings: dict[str, float | str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_names(names, seed=0, **settings)


def test_few_groups_are_noted() -> None:
    two = split_names(["a_1.npy", "b.npy"], seed=0)
    assert [len(found) for found in two.names.values()] == [1, 0, 1]
    assert two.note.startswith("2 groups of scenes: nothing for val; add scenes")
    one = split_names(["a.npy"], seed=0)
    assert one.names == {"train": ("a.npy",), "val": (), "test": ()}
    assert one.note.startswith("1 group of scenes: nothing for val and test; add scenes")
