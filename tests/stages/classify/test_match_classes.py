from __future__ import annotations

import pytest

from stages.classes import ClassInfo, imagenet_classes
from stages.classify.match_classes import match_classes
from stages.errors import DataError

NETWORK = [ClassInfo("ant", "n1"), ClassInfo("bee", "n2"), ClassInfo("red fox", "n3")]


def test_wnids_come_first():
    outputs, note = match_classes([ClassInfo("bee", "n3"), ClassInfo("ant", "n1")], NETWORK, 3)
    assert outputs.tolist() == [2, 0] and note is None


def test_then_names_and_what_is_unknown_is_said():
    outputs, note = match_classes([ClassInfo("Red_Fox"), ClassInfo("wolf")], NETWORK, 3)
    assert outputs.tolist() == [2, -1]
    assert note == "1 classes are unknown to the network, first 'wolf'"


def test_then_the_position_if_the_network_names_nothing():
    dataset = [ClassInfo("a"), ClassInfo("b"), ClassInfo("c")]
    outputs, note = match_classes(dataset, [], 3)
    assert outputs.tolist() == [0, 1, 2] and "taken in the dataset's order, 'a' first" in note
    for network, count in ((NETWORK, 3), ([], 4)):
        with pytest.raises(DataError, match=r"no name or wnid of the dataset's 3 classes \('a' \.\.\.\)"):
            match_classes(dataset, network, count)


def test_a_subset_of_imagenet_in_folders():
    folders = [ClassInfo("n02124075", "n02124075"), ClassInfo("n01440764", "n01440764")]
    assert match_classes(folders, list(imagenet_classes()), 1000)[0].tolist() == [285, 0]
