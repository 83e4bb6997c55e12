"""``local/storyteller``: writes text token by token, and can be trained on a text of one's own."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Final

import msgspec

from replicate_async.interface.types import AsyncConcatenateIterator, Input, Weights
from replicate_async.local.builtins.progress import Progress
from replicate_async.local.builtins.tales import TALES
from replicate_async.local.models.current_run import current_run, log
from replicate_async.local.models.function import ModelFunction

NAME: Final = "local/storyteller"

_ORDER: Final = 2
_TOKEN: Final = re.compile(r"\n\n|\s?[\u201c\"(]?\w+(?:['\u2019-]\w+)*|\s?[^\w\s]")
_SENTENCE_ENDS: Final = (".", "!", "?", "\n\n")
_LARGEST_SEED: Final = 2**31 - 1
_TRAINING_STEPS: Final = 16


class ChainFile(msgspec.Struct, frozen=True, kw_only=True):
    """The weights: which token followed each pair of tokens, and how often."""

    order: int
    starts: tuple[tuple[str, str], ...]
    next: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Chain:
    """A Markov chain of order two over the tokens of a text."""

    starts: tuple[tuple[str, str], ...]
    """Pairs that a sentence of the text opens with."""
    next: Mapping[tuple[str, str], Mapping[str, int]]

    @classmethod
    def learn(cls, tokens: Sequence[str], progress: Progress | None = None) -> Chain:
        """Return the chain of a text, given as its tokens; *progress* counts the steps.

        Raises `ValueError` for a text of fewer than three tokens.
        """
        if len(tokens) <= _ORDER:
            raise ValueError("the text is too short to learn from: three words are the least")
        following: dict[tuple[str, str], Counter[str]] = {}
        for place in range(len(tokens) - _ORDER):
            first, second, third = tokens[place : place + _ORDER + 1]
            following.setdefault((first, second), Counter())[third] += 1
            while progress and progress.done < progress.total * (place + 3) // len(tokens):
                progress.advance()
        starts = [(tokens[0], tokens[1])]
        for before, first, second in zip(tokens, tokens[1:], tokens[2:], strict=False):
            if before in _SENTENCE_ENDS and "\n\n" not in {first, second}:
                starts.append((first, second))
        return cls(tuple(starts), following)

    @classmethod
    def load(cls, weights: bytes) -> Chain:
        """Return the chain that `dump` wrote.

        Raises `ValueError` for weights of another model.
        """
        try:
            file = msgspec.json.decode(weights, type=ChainFile)
            following = {_pair(key): counts for key, counts in file.next.items()}
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ValueError(f"these weights are none of the storyteller's: {error}") from None
        if not file.starts or not following:
            raise ValueError("these weights are empty")
        return cls(file.starts, following)

    def dump(self) -> bytes:
        """Return the chain as weights, which are JSON."""
        following = {json.dumps(pair): dict(counts) for pair, counts in self.next.items()}
        return msgspec.json.encode(ChainFile(order=_ORDER, starts=self.starts, next=following))

    def tokens(self, prompt: str, temperature: float, rng: random.Random) -> Iterator[str]:
        """Yield tokens without end, continuing the prompt where the text knows its last pair."""
        said = tokenize(prompt)
        pair = (said[-2], said[-1]) if len(said) >= _ORDER else ("", "")
        if pair not in self.next:
            pair = self._opening(said, rng)
            yield from (pair[0].lstrip(" "), pair[1])
        while True:
            if following := self.next.get(pair):
                token = _choose(following, temperature, rng)
                pair = (pair[1], token)
                yield token
            else:
                # The end of the text; another story follows.
                pair = rng.choice(self.starts)
                yield from ("\n\n", pair[0].lstrip(" "), pair[1])

    def _opening(self, said: Sequence[str], rng: random.Random) -> tuple[str, str]:
        words = {_word(token) for token in said}
        about = [pair for pair in self.starts if words & {_word(pair[0]), _word(pair[1])}]
        return rng.choice(about or self.starts)


def _word(token: str) -> str:
    return token.strip(' \u201c"(').lower()


def _pair(key: str) -> tuple[str, str]:
    return msgspec.json.decode(key, type=tuple[str, str])


def _choose(following: Mapping[str, int], temperature: float, rng: random.Random) -> str:
    tokens = list(following)
    if temperature < 0.01:
        return max(tokens, key=lambda token: following[token])
    # Scaled so that the largest is 1, and no power of it overflows.
    most = max(following.values())
    weights = [(following[token] / most) ** (1 / temperature) for token in tokens]
    return rng.choices(tokens, weights)[0]


def tokenize(text: str) -> list[str]:
    """Return the tokens of *text*; like those of a language model, most begin with a space."""
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
    return _TOKEN.findall("\n\n".join(part for part in paragraphs if part))


@cache
def _tales() -> Chain:
    return Chain.learn(tokenize(TALES))


async def predict(
    prompt: Annotated[str, Input(description="How the text begins, or what it is about")],
    max_tokens: Annotated[int, Input(ge=1, le=10_000, description="Tokens to write")] = 128,
    temperature: Annotated[
        float, Input(ge=0, le=5, description="0 always takes the likeliest next token")
    ] = 1.0,
    seed: Annotated[
        int | None, Input(ge=0, le=_LARGEST_SEED, description="Leave out for a random one")
    ] = None,
    delay_ms: Annotated[
        float, Input(ge=0, le=10_000, description="Time between tokens in milliseconds")
    ] = 2,
    weights: Weights | None = None,
) -> AsyncConcatenateIterator[str]:
    """Write a story token by token, in the words of a few tales or of the text trained on."""
    started = time.monotonic()
    run = current_run()
    chain = _tales() if weights is None else Chain.load(weights)
    seed = random.SystemRandom().randint(0, _LARGEST_SEED) if seed is None else seed
    log(f"Using seed: {seed}")
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    run.metric("input_token_count", len(tokenize(prompt)))
    written = 0
    for token in chain.tokens(prompt, temperature, rng):
        if written == 0:
            run.metric("time_to_first_token", time.monotonic() - started)
        yield token
        written += 1
        if written == max_tokens:
            break
        # Even without a delay, other tasks and a cancellation get a turn.
        await asyncio.sleep(delay_ms / 1000)
    # Language models end with an empty piece.
    yield ""
    run.metric("output_token_count", written)
    run.metric("tokens_per_second", written / max(time.monotonic() - started, 1e-9))


def train(
    text: Annotated[str, Input(min_length=1, description="The text to learn from")],
) -> Weights:
    """Learn which token follows which in a text."""
    if text.startswith(("data:", "http://", "https://")) and len(text.split()) == 1:
        raise ValueError("text is the address of a file; give its text: path.read_text().")
    tokens = tokenize(text)
    log(f"Learning from {len(tokens)} tokens")
    chain = Chain.learn(tokens, Progress(_TRAINING_STEPS))
    current_run().metric("training_token_count", len(tokens))
    return Weights(chain.dump())


def model() -> ModelFunction:
    """Return the model."""
    return ModelFunction(predict, train=train, name=NAME)
