"""A model of Cog: constraints, choices, a secret, and an object as its output."""

from typing import Optional

from cog import BaseModel, BaseRunner, Input, Path, Secret


class Output(BaseModel):
    text: str
    score: float
    language: Optional[str] = None


class Runner(BaseRunner):
    def setup(self):
        self.prefix = "A picture of "

    def run(
        self,
        image: Path = Input(description="What to describe", accept="image/*"),
        prompt: str = Input(default="caption", min_length=1, max_length=20, regex="^[a-z ]+$"),
        temperature: float = Input(description="Sampling temperature", default=0.7, ge=0, le=2),
        style: str = Input(default="balanced", choices=["fast", "balanced", "quality"]),
        beams: int = Input(default=2, choices=[1, 2, 4]),
        api_key: Secret = Input(description="API key"),
        mask: Optional[Path] = Input(default=None),
        old: int = Input(default=1, deprecated=True),
    ) -> Output:
        text = f"{self.prefix}{len(image.read_bytes())} bytes, {prompt}, {style}"
        return Output(text=f"{text}, {type(api_key).__name__}", score=temperature)
