"""The keys of a training's configuration, documented as those of a run."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.load import CONFIGS, load
from pipeline.config.overrides import Overrides
from pipeline.config.sections import Count, DataConfig, ModelConfig, RuntimeConfig, Section
from stages.formats.table import defaults
from stages.train.splits import TRAIN

TRAININGS = CONFIGS / "train"

Part = Annotated[float, Field(gt=0, lt=1)] | Annotated[str, Field(pattern=r"^[\w-]+$")]


class TrainingDataConfig(DataConfig):
    """The images that are trained on, and those that are kept from it."""

    split: Annotated[str, Field(pattern=r"^[\w-]+$")] = TRAIN
    """Split of the dataset that is trained on, where its layout has splits; all images where they are not divided."""
    class_map: None = None
    """Not for trainings: a head learns the dataset's own classes."""
    sample: Count | None = None
    """Use a seeded random subset of about this many images of each split that has a name, the same share of every
    class."""
    limit: Count | None = None
    """Use only this many images of each split that has a name, the first by id."""
    validation: Part = 0.15
    """Images that decide when the training ends: a share of each class, from 0 to 1, or the name of a split. An image
    of several classes counts for the rarest."""
    test: Part = 0.2
    """Images that nothing is decided by, and on which the result is measured: a share of each class, or the name of
    a split."""

    @model_validator(mode="before")
    @classmethod
    def _own_split(cls, tree: Any) -> Any:
        """The split does not follow from the format."""
        return tree

    @model_validator(mode="after")
    def _distinct_parts(self) -> Self:
        parts = [self.validation, self.test]
        shares = [part for part in parts if not isinstance(part, str)]
        if sum(shares) >= 1:
            raise ValueError(f"validation={self.validation} and test={self.test} leave nothing to train on")
        names = [part for part in (*parts, self.split) if isinstance(part, str)]
        if len(set(names)) < len(names):
            raise ValueError("validation, test and split name one split twice; each is of other images")
        return self

    @property
    def options(self) -> dict[str, object]:
        """Options for the format's reader; the default split does not count as set."""
        own = {"validation", "test"}
        own |= {"split"} if self.split == TRAIN and "split" not in defaults(self.format) else set()
        return {key: value for key, value in super().options.items() if key not in own}


class TrunkConfig(ModelConfig):
    """The network whose trunk is kept as it is, and the head that is trained on it."""

    layer: str = "last"
    """Dotted name of the trunk's last layer; last is the last one with spatial extent."""
    outputs: Literal["auto", "softmax", "sigmoid"] = "auto"
    """softmax: classes exclude each other, and an image counts for its first; sigmoid: each has a probability of its
    own. auto: sigmoid where any image shows several."""
    head: Literal["gap", "conv-gap", "conv-gmp", "fc", "fc-dropout"] = "gap"
    """What follows the trunk: gap (global average pooling and a linear layer), conv-gap (a convolution before it),
    conv-gmp (the same with global maximum pooling), fc or fc-dropout (fully connected layers)."""
    box: bool = False
    """Whether the head learns the box of an image's largest object of its class, too."""
    channels: Annotated[int, Field(ge=1, le=4096)] = 256
    """Channels of the convolution in conv-gap and conv-gmp."""
    kernel: Literal[1, 3] = 1
    """Side of that convolution, in cells."""


class OptimizerConfig(Section):
    """How the head learns."""

    epochs: Count = 40
    """Most passes over the training images."""
    patience: Count = 8
    """Passes without a lower validation loss after which the training ends; what is kept is the best."""
    batch_size: Count = 64
    """Images a step."""
    learning_rate: Annotated[float, Field(gt=0, le=100)] = 1e-3
    """Learning rate of AdamW."""
    flip: bool = False
    """Whether half of the training images are mirrored, others in every epoch, with their boxes."""
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the classes' loss S where boxes are learnt, too: alpha S + (1 - alpha) R."""
    weight_decay: Annotated[float, Field(ge=0, le=100)] = 1e-4
    """Weight decay of AdamW."""


class TrainConfig(Section):
    """Everything that defines a training."""

    data: TrainingDataConfig
    model: TrunkConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random choice: splits, first weights, the order of the images."""


def load_training(name: str, overrides: Overrides) -> tuple[str, TrainConfig]:
    """The configuration of a training by its name in ``configs/train/`` or its file, as :func:`load` has it."""
    return load(TrainConfig, TRAININGS, name, overrides)
