"""How data is read: size, crop, colour, augmentation, hold-out; part of every recipe, so recorded with the model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vitrail.types import NEUTRAL, Config


class DataConfig(Config):
    """Settings for turning a source into training samples."""

    size: int | None = Field(
        None,
        ge=1,
        le=8192,
        description="side of the square pictures in pixels; None: the pictures' own where all share one of at most 256,"
        " else the power of two at or below the median shorter side, at most 128",
    )
    fit: Literal["crop", "pad", "stretch"] = Field(
        "crop", description="how other shapes become square: cut the middle out, repeat the edges, or distort"
    )
    channels: Literal[1, 3] | None = Field(None, description="1 grey, 3 RGB; None: as in the source")
    flip: bool = Field(False, description="mirror left-right at random; only where a mirrored picture is a valid one")
    shift: int = Field(0, ge=0, description="move by up to this many pixels at random, edges repeated")
    augment: float | None = Field(
        None,
        ge=0,
        le=2,
        description="strength of the random changes below, for codec and prior alike: 0 none, 1 full; null: full up to 2,000"
        " training samples, less for more, none from 10,000",
    )
    turn: float = Field(12.0, ge=0, le=180, description="largest turn in degrees at full strength")
    zoom: float = Field(0.12, ge=0, lt=1, description="largest change of scale at full strength")
    move: float = Field(0.12, ge=0, lt=1, description="largest move at full strength, as a share of the side")
    light: float = Field(0.4, ge=0, le=4, description="largest change of gamma at full strength, in powers of two")
    binarise: bool = Field(
        False,
        description="each value becomes 0 or 1, 1 with the probability of its brightness: for training anew in every epoch, for"
        " judging always alike",
    )
    captions: int = Field(
        0,
        ge=0,
        le=1024,
        description="bytes that are read of each picture's caption, as a condition of a diffusion or flow prior; 0: none is read",
    )
    heldout: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="share kept out of training where the source has no test part, at least one sample; 0: none, so that nothing"
        " is there to judge by",
    )
    max_pixels: int = Field(
        89_000_000, ge=1, le=178_000_000, description="a picture with more pixels is set aside unread"
    )
    memory: float = Field(
        4.0,
        gt=0,
        description="GiB of decoded pictures to keep in memory; larger sets are read as needed",
        json_schema_extra=NEUTRAL,
    )
    workers: int = Field(
        2, ge=0, description="reader processes where the data is not in memory", json_schema_extra=NEUTRAL
    )
    strict: bool = Field(
        False, description="stop at the first unreadable file instead of setting it aside", json_schema_extra=NEUTRAL
    )
