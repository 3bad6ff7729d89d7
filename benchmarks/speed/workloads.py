"""The workloads: networks, data, and the common start."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

POSTERIOR_SIGMA = 0.05
PRIOR_SIGMA = 0.1
NOISE_SIGMA = 0.1  # of the targets in regression
LEARNING_RATE = 1e-3
CONV_STRIDE, CONV_PADDING = 2, 1

# A network's weights: (kernel, bias) per layer. A kernel is [in, out], or [height, width, in, out] for a convolution.
Weights = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Network:
    """Layers with ReLU between them.

    Convolutions of stride 2 come first, and the mean over positions follows them.

    Attributes:
        input_shape: shape of an example, channels last.
        kernels: the shape of each layer's kernel.
        num_data: size of the data set that the batches stand for.
    """

    name: str
    input_shape: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    num_data: int

    @property
    def outputs(self) -> int:
        """Outputs per example."""
        return self.kernels[-1][-1]

    @property
    def is_regression(self) -> bool:
        """Whether the output is a real number rather than logits."""
        return self.outputs == 1

    @property
    def is_convolutional(self) -> bool:
        """Whether a layer is a convolution."""
        return any(len(kernel) > 2 for kernel in self.kernels)

    @property
    def size(self) -> int:
        """Number of weights and biases."""
        return sum(math.prod(kernel) + kernel[-1] for kernel in self.kernels)

    def data(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Random inputs, and targets that can be learned.

        Targets are a sine in regression, and the labels of a random linear map in classification. The labels of images
        depend on their contrast: a network that averages over positions can learn how much the pixels vary, but not a
        linear map of the pixels.
        """
        random = np.random.default_rng(0)
        x = random.standard_normal((rows, *self.input_shape), np.float32)
        if self.is_regression:
            return x, np.sin(x[:, :1])
        if self.is_convolutional:
            labels = random.integers(0, self.outputs, rows)
            contrast = 2.0 * (1 + labels) / self.outputs
            return x * contrast.astype(np.float32)[:, None, None, None], labels.astype(np.int32)
        teacher = random.standard_normal((math.prod(self.input_shape), self.outputs), np.float32)
        return x, np.argmax(x.reshape(rows, -1) @ teacher, axis=-1).astype(np.int32)

    def means(self) -> Weights:
        """Posterior means at the start.

        Kernels have variance 1 / fan-in, and biases are zero.
        """
        random = np.random.default_rng(1)
        weights: Weights = []
        for shape in self.kernels:
            scale = np.float32(1 / math.sqrt(math.prod(shape[:-1])))
            weights.append((scale * random.standard_normal(shape, np.float32), np.zeros(shape[-1], np.float32)))
        return weights


def mlp(*sizes: int, num_data: int) -> Network:
    """A multilayer perceptron of these sizes."""
    return Network("-".join(map(str, sizes)), sizes[:1], tuple(itertools.pairwise(sizes)), num_data)


SMALL = mlp(8, 50, 1, num_data=16_000)
MEDIUM = mlp(784, 400, 400, 10, num_data=60_000)
LARGE = mlp(784, 1200, 1200, 10, num_data=60_000)
CONV = Network("conv 16-32-10", (28, 28, 1), ((3, 3, 1, 16), (3, 3, 16, 32), (32, 10)), 60_000)


@dataclass(frozen=True)
class Train:
    """Training steps: ELBO, gradient, Adam.

    Attributes:
        steps: number of steps of a scanned epoch, and the largest number in a timed call of a loop.
        mc_samples: draws per step.
    """

    network: Network
    batch: int
    steps: int
    mc_samples: int = 1

    @property
    def name(self) -> str:
        """The key in a result file."""
        return f"train {self.network.name}, batch {self.batch}, mc {self.mc_samples}"


@dataclass(frozen=True)
class Predict:
    """Predictive mean and variance over draws of the weights."""

    network: Network
    draws: int = 50
    inputs: int = 1000
    steps: int = 1

    @property
    def name(self) -> str:
        """The key in a result file."""
        return f"predict {self.network.name}, {self.draws} draws, {self.inputs} inputs"


Workload = Train | Predict

WORKLOADS: tuple[Workload, ...] = (
    *(Train(SMALL, batch=32, steps=500, mc_samples=n) for n in (1, 4)),
    *(Train(MEDIUM, batch=128, steps=20, mc_samples=n) for n in (1, 4)),
    *(Train(LARGE, batch=128, steps=8, mc_samples=n) for n in (1, 4)),
    *(Train(CONV, batch=128, steps=10, mc_samples=n) for n in (1, 4)),
    Predict(SMALL),
    Predict(MEDIUM),
)
QUICK: tuple[Workload, ...] = (Train(SMALL, batch=32, steps=500), Predict(SMALL))
# On a GPU, the time of a prediction also depends on the amount of work at once.
ON_GPU: tuple[Workload, ...] = tuple(
    Predict(network, draws, inputs)
    for network in (SMALL, MEDIUM)
    for draws in (50, 1000)
    for inputs in (1, 1000)
    if (draws, inputs) != (50, 1000)
)
