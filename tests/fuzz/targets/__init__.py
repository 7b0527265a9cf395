"""All decoders by name."""

from tests.fuzz.target import Target
from tests.fuzz.targets import blocks, frames, index, kernels, numbers, state, vaults, words

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (numbers, frames, blocks, index, state, words, kernels, vaults)
    for target in module.TARGETS
}
"""{name: target}."""
