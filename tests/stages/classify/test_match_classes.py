from __future__ import annotations

import pytest

from stages.classes import ClassInfo, imagenet_classes
from stages.classify.match_classes import match_classes
from stages.errors import ConfigurationError
from stages.formats.folder import class_info

NETWORK = [ClassInfo("ant", "n1"), ClassInfo("bee", "n2"), ClassInfo("red fox", "n3")]
NFC, NFD = "caf\u00e9", "cafe\u0301"


def match(dataset, network, class_map=None, outputs=None):
    """The match of classes given by their names."""
    infos = [[one if isinstance(one, ClassInfo) else ClassInfo(one) for one in names] for names in (dataset, network)]
    return match_classes(*infos, len(network) if outputs is None else outputs, class_map)


def test_wnids_come_first():
    found = match([ClassInfo("bee", "n3"), ClassInfo("ant", "n1")], NETWORK)
    assert found.labels == [2, 0] and not found.notes and found.classes == NETWORK


def test_then_names_and_what_is_unknown_has_a_reason():
    found = match(["Red_Fox", "wolf", "bees"], NETWORK)
    assert found.labels == [2, -1, -1] and found.unknown == {1: "", 2: "nearest: 'bee'"}


def test_each_class_is_found_by_what_it_has():
    """A class without a wnid among classes with one; two wnids are two classes, whatever they are called."""
    found = match([ClassInfo("n1", "n1"), "bee", ClassInfo("red fox", "n9")], NETWORK)
    assert found.labels == [0, 1, -1]


def test_then_the_position_if_the_network_names_nothing():
    found = match(["a", "b", "c"], [], outputs=3)
    assert found.labels == [0, 1, 2] and [info.name for info in found.classes] == ["a", "b", "c"]
    assert "taken in the dataset's order, 'a' first" in found.notes[0]
    assert match(["a", "b", "c"], [], outputs=4).labels == [-1, -1, -1]
    assert match(["a", "b", "c"], NETWORK).labels == [-1, -1, -1]


def test_a_subset_of_imagenet_in_folders():
    folders = [class_info("n02124075"), class_info("n01440764"), class_info("\ufeffN01443537 "), class_info("n0144")]
    assert match(folders, imagenet_classes()).labels == [285, 0, 1, -1]


@pytest.mark.parametrize(
    ("written", "known"),
    [
        pytest.param("\ufeffred fox", "red fox", id="byte-order mark"),
        pytest.param("red fox  ", "red fox", id="trailing blanks"),
        pytest.param("red\u00a0fox", " red fox", id="no-break and leading blank"),
        pytest.param("red-fox", "Red_Fox", id="hyphen, underscore and case"),
        pytest.param("red\u2010fox", "red  fox", id="Unicode hyphen and two blanks"),
        pytest.param("re\u00add\u200b fox\r", "red fox", id="soft hyphen, zero width, carriage return"),
        pytest.param(NFD, NFC, id="NFD against NFC"),
        pytest.param(NFC.upper(), NFD, id="NFC in capitals against NFD"),
        pytest.param("jack-o\u2019-lantern", "jack-o'-lantern", id="apostrophes"),
        pytest.param("\uff32\uff25\uff24 fox", "red fox", id="full width"),
    ],
)
def test_spellings_of_one_name(written, known):
    found = match([written], ["other", known])
    assert found.labels == [1] and not found.notes and found.classes[1].name == known
    assert match(["class"], ["other", known], {"CLASS": [written]}).labels == [1]


def test_as_it_stands_wins_and_what_may_be_several_is_said():
    assert match([NFC, NFD, "Tench"], [NFD, NFC, "tench", "Tench"]).labels == [1, 0, 3]
    found = match(["TENCH"], ["tench", "Tench", "ant"])
    assert found.labels == [-1] and found.unknown == {0: "it may be any of 0 'tench', 1 'Tench'"}
    twice = match(["crane", "ant"], ["crane", "ant", "crane"])
    assert twice.notes == ["1 names stand several times among the network's: 'crane'"]
    assert twice.labels == [-1, 1] and twice.unknown == {0: "it may be any of 0 'crane', 2 'crane'"}
    assert match(["crane", "ant"], ["crane", "ant", "crane"], {"crane": ["2"]}).labels == [2, 1]


def test_two_classes_that_become_one_are_said_with_what_cannot_be_seen():
    found = match([NFC, NFD, "\ufeffant", "ant"], [NFC, "ant"])
    assert found.labels == [0, 0, 1, 1]
    assert found.notes == [
        "the classes 'caf\u00e9', 'cafe\\u0301' are one class of the network, 0 'caf\u00e9', and scored as one",
        "the classes '\\ufeffant', 'ant' are one class of the network, 1 'ant', and scored as one",
    ]


def test_names_of_nothing_but_separators_stay_apart():
    assert match(["-", "_"], ["_", "-"]).labels == [1, 0]
    assert match(["-"], ["_"]).labels == [-1]


ANIMALS = ["tabby", "hen", "Persian cat", "beagle", "hog", "cat"]


def test_a_map_by_names_wnids_and_numbers():
    network = [ClassInfo(name, f"n{index}") for index, name in enumerate(ANIMALS)]
    found = match(["cat", "dog", "hen"], network, {"cat": ["Persian Cat", "N0 "], "dog": ["3 "]})
    assert found.outputs == [(0, 2), (3,), (1,)] and found.labels == [0, 3, 1] and found.groups == [(0, 2)]
    names = ["cat", "hen", "Persian cat", "dog", "hog", "cat (n5)"]
    assert [info.name for info in found.classes] == names and found.classes[3].wnid == "n3"
    assert not found.unknown and found.notes == [
        "the class map says: 'cat' (0 'tabby', 2 'Persian cat'), 'dog' (3 'beagle')"
    ]


def test_a_map_of_a_network_that_names_nothing():
    found = match(["a", "b"], [], {"a": ["2", "0"]}, outputs=3)
    assert found.outputs == [(0, 2), ()] and found.notes[1:] == ["the network does not name its 3 classes"]
    assert [info.name for info in found.classes] == ["a", "1", "2"]


def test_entries_of_a_map_that_do_nothing():
    found = match(["hen", "dog"], ANIMALS, {"hen": [], "dgo": ["beagle"]})
    assert found.labels == [-1, -1] and found.unknown == {0: "the class map gives it none", 1: "nearest: 'hog'"}
    assert found.notes[1:] == ["1 of 2 entries of the class map name no class of the dataset: 'dgo' (nearest: 'dog')"]


def test_a_map_takes_a_class_from_the_one_of_its_name():
    found = match(["cat", "hen"], ANIMALS, {"cat": ["tabby", "hen"]})
    assert found.outputs == [(0, 1), ()] and found.unknown == {1: "the class map gives 'hen' to 'cat'"}
    same = match(["bird", "hen"], ANIMALS, {"bird": ["hen"]})
    assert same.labels == [1, 1] and "the classes 'bird', 'hen' are one class" in same.notes[1]


def test_classes_of_one_meaning():
    found = match(["cat", "kitten"], ANIMALS, {"cat": ["tabby", "2"], "kitten": ["2", "0"]})
    assert found.labels == [0, 0] and found.classes[0].name == "cat"
    assert "the classes 'cat', 'kitten' are one class of the network, 0 'tabby', 2 'Persian cat'" in found.notes[1]


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        ({"cat": ["tabi"]}, "'tabi', under 'cat', is no class of the network; nearest: 'tabby'"),
        ({"cat": ["persian"]}, "'persian', under 'cat', is no class of the network; nearest: 'Persian cat'"),
        ({"cat": ["6"]}, "'6', under 'cat', is no class of the network; wsl-pipeline list classes"),
        ({"cat": ["-1"]}, "'-1', under 'cat', is no class of the network"),
        ({"cat": ["tabby"], "dog": ["beagle", "tabby"]}, "'tabby' belongs to 'cat' and to 'dog'; give each class"),
        ({"CAT": ["tabby"], "cat": ["hog"]}, "'cat' stands in it twice, spelt differently; give it one list"),
    ],
)
def test_mistakes_in_a_map(class_map, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        match(["cat", "dog", "hen"], ANIMALS, class_map)
    assert caught.value.about == "class_map" and "\n" not in str(caught.value)


def test_a_key_that_may_be_two_classes():
    with pytest.raises(ConfigurationError, match="'CAT' may be any of 0 'cat', 1 'Cat'; write it as it stands"):
        match(["cat", "Cat"], ANIMALS, {"CAT": ["tabby"]})
