"""A job whose batches are maps that runs have stored, in place of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.recipe import FullRecipe
from pipeline.engine.job import RunJob
from pipeline.store.manifest import Shard, read_shard
from pipeline.store.rundir import RunDir
from pipeline.store.tables import BY_SCALE, FAITHFULNESS, FOREGROUND, MACHINE, unpacked, unpacked_maps
from stages.batch import Batch, Failure, ragged, take
from stages.explain.remade import Rules, Stored, remade
from stages.explain.several_scales import divided
from stages.ingest.geometry import fit_transforms


@dataclass(frozen=True, kw_only=True)
class StoredJob(RunJob):
    """A job whose batches are the rows of a run; ``batch_size`` counts maps.

    Attributes:
        sources: The run that stored the maps, and others over the same images whose maps are fused with them.
        recipe: The new rules.
        before: The rules of each run.
    """

    sources: tuple[RunDir, ...]
    recipe: FullRecipe
    before: tuple[Rules, ...]

    def batches(self, shard: Shard) -> list[Batch]:
        """The shard's rows with their maps, cut between images."""
        source = self.sources[0]
        table = _first_components(source.part("predictions", shard.index))
        images = read_shard(source.manifest, shard)
        rows = np.searchsorted(images["image_id"], table["image_id"].to_numpy())
        transforms = np.zeros((len(images["image_id"]), 4))
        there = np.unique(rows)
        sides = images["width"][there], images["height"][there]
        transforms[there] = fit_transforms(*sides, self.recipe.size, self.recipe.fit, self.recipe.crop_ratio)
        batch = take(images, rows) | self._maps(table, shard) | {"transform": transforms[rows]}
        firsts = np.flatnonzero(np.diff(rows, prepend=-1))
        # The first image that begins in each stretch of batch_size rows.
        cuts = firsts[np.unique(firsts // self.batch_size, return_index=True)[1]]
        return [take(batch, slice(*span)) for span in zip(cuts, [*cuts[1:], len(rows)], strict=True)]

    def errors(self, shard: Shard, errors: list[Failure]) -> pa.Table:
        """The images that failed in the source run, copied from it."""
        return self.sources[0].part("errors", shard.index)

    def network_counts(self, shard: Shard, rows: Batch) -> dict[bytes, bytes]:
        """Faithfulness counts of the source run, where its maps stay the same."""
        if len(self.sources) > 1 or self.before[0] != rules_of(self.recipe):
            return {}
        metadata = self.sources[0].part("predictions", shard.index).schema.metadata
        return {FAITHFULNESS: metadata[FAITHFULNESS]} if FAITHFULNESS in metadata else {}

    def _maps(self, table: pa.Table, shard: Shard) -> Batch:
        """Prediction rows as the columns that the explaining stage hands to the scoring stages."""
        rows: Batch = {name: table[name].to_numpy() for name in ("target_rank", "class_index", "prob", "map_scale")}
        rows["method"] = ragged(table["method"].to_pylist())
        if machine := (table.schema.metadata or {}).get(MACHINE):
            rows["machine"] = np.full(len(table), machine.decode())
        stored, scales = list(_stored(table)), rows["map_scale"].copy()
        others = [self._of_others(source, shard) for source in self.sources[1:]]
        now = rules_of(self.recipe)
        for row, key in enumerate(self._keys(table)):
            found = [0, *(at for at, of in enumerate(others, 1) if key in of)]
            maps = [stored[row], *(others[at - 1][key] for at in found[1:])]
            again = remade(key[1], maps, [self.before[at] for at in found], now)
            if again is not None:
                map, scales[row] = divided(again.map)
                stored[row] = Stored(map, again.by_scale, again.foreground)
        rows["map"], rows["map_scale"] = ragged(one.map for one in stored), scales
        rows[BY_SCALE] = ragged(one.by_scale for one in stored)
        rows[FOREGROUND] = ragged(one.foreground for one in stored)
        return rows

    def _of_others(self, source: RunDir, shard: Shard) -> dict[Key, Stored]:
        """What another run, which may be cut elsewhere, stored of the shard's images."""
        size = source.info().shard_size
        found: dict[Key, Stored] = {}
        for part in range(shard.start // size, (shard.stop - 1) // size + 1):
            table = _first_components(source.part("predictions", part))
            found.update(zip(self._keys(table), _stored(table), strict=True))
        return found

    def _keys(self, table: pa.Table) -> Iterator[Key]:
        names = ("image_id", "method", "class_index")
        labels = (table["target_rank"].to_numpy() == 0) & (self.recipe.config.explain.contrast > 0)
        return zip(*(table[name].to_pylist() for name in names), labels.tolist(), strict=True)


Key = tuple[int, str, int, bool]
"""Image, method and class of a map, which its rows of several ranks share, and whether it is a contrasted label's."""


def rules_of(recipe: FullRecipe) -> Rules:
    """What the maps of a recipe depend on besides their parts."""
    return Rules(recipe.fused_below, recipe.combination, recipe.config.explain.scales)


def _first_components(table: pa.Table) -> pa.Table:
    return table.filter(pc.equal(table["component"], 0))


def _stored(table: pa.Table) -> Iterator[Stored]:
    return map(Stored, unpacked_maps(table), unpacked(table, BY_SCALE), unpacked(table, FOREGROUND))
