"""How an estimator names the noise it takes."""

from __future__ import annotations

from collections.abc import Callable


def with_noise(draw_noise: Callable) -> Callable[[Callable], Callable]:
    """Decorator: give an estimator the function that draws its noise, as its attribute `draw_noise`."""

    def attach(estimator: Callable) -> Callable:
        estimator.draw_noise = draw_noise
        return estimator

    return attach
