"""Vectors that are kept in changing coordinates: turned in place, so that no second copy stands beside the first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Floats32, Floats64
from nbarec.work import on_shards
from nbarec_plugins.gram import PART_ROWS, gram


@dataclass
class Turned:
    """The vectors x = x' `back`: `own` float32 [n + 1, d] holds the x', `back` float64 [d, d] is how they are read.

    The last row of `own` is zeros, which any coordinates leave as they are: it stands for padding.
    """

    own: Floats32
    back: Floats64

    @classmethod
    def of(cls, vectors: Floats32) -> Turned:
        """A copy of vectors float32 [n, d], in plain coordinates."""
        turned = cls.zeros(*vectors.shape)
        turned.own[:-1] = vectors
        return turned

    @classmethod
    def zeros(cls, rows: int, width: int) -> Turned:
        """So many vectors of that width."""
        return cls(np.zeros((rows + 1, width), np.float32), np.eye(width))

    @property
    def width(self) -> int:
        """d."""
        return len(self.back)

    def turn(self, into: Floats64, inverse: Floats64) -> None:
        """Keep x `into` from now on; float64 [d, d], of which one is the other's inverse."""
        by = (self.back @ into).astype(np.float32)

        def turn_part(start: int) -> None:
            part = slice(start, start + PART_ROWS)
            self.own[part] = self.own[part] @ by

        on_shards(turn_part, range(0, len(self.own), PART_ROWS))
        self.back = inverse

    def plain(self) -> Floats32:
        """The vectors x, in place: float32 [n, d]."""
        self.turn(np.eye(self.width), np.eye(self.width))
        return self.own[:-1]

    def copy(self) -> Turned:
        """The same vectors in an array of their own."""
        return Turned(self.own.copy(), self.back)

    def gram(self) -> Floats64:
        """The sum of x'x over all vectors, parts of them in single precision: float64 [d, d]."""
        return np.asarray(self.back.T @ gram(self.own, np.float32) @ self.back, np.float64)
