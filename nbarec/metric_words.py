"""What metrics mean, in a few plain words."""

from __future__ import annotations

WORDS = {
    "precision": "share of the places that hold an item the user went on to like",
    "recall": "share of what users went on to like that is in the list",
    "recall_capped": "share of what users went on to like that is in the list, of as many as it has places for",
    "ndcg": "hits, worth more the higher they stand; 1 is a perfect list",
    "ndcg_graded": "hits, worth more the higher they stand and the more they were liked; 1 is a perfect list",
    "hit_rate": "share of users with at least one hit in the list",
    "map": "precision at each hit, averaged; 1 is a perfect list",
    "mrr": "1 divided by the place of the first hit",
    "auc": "chance that a liked item stands above another one",
    "coverage": "share of the catalogue that is shown to anybody",
    "novelty": "how little known the shown items are, in bits: one more is half as many users",
    "diversity": "how different the items of one list are: 0 alike, 1 nothing in common",
    "gini": "how unevenly items are shown: 0 equally, 1 always the same",
    "average_popularity": "how many users the shown items have, on average",
    "popularity_lift": "how much more popular shown items are than the user's own",
    "serendipity": "hits that are not to be expected",
    "miscalibration": "how far the list is from the mix of the user's history; lower is closer",
}


def words_of(label: str) -> str:
    """What a metric such as `ndcg@10` is; how to find out, for one of a plugin."""
    name, _, places = label.partition("@")
    if name not in WORDS:
        return f"nbarec plugins {name} tells what it measures"
    return f"{WORDS[name]} ({_places(places)})" if places else WORDS[name]


def _places(places: str) -> str:
    return "first place" if places == "1" else f"first {places} places"
