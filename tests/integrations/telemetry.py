"""An SDK of OpenTelemetry that keeps spans and metrics in memory, and prints spans as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from replicate_async import Hooks
from replicate_async.integrations.otel import OpenTelemetry


class Telemetry:
    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader])
        self.tracer = self.tracer_provider.get_tracer("app")
        self.tracing = OpenTelemetry(
            tracer_provider=self.tracer_provider, meter_provider=self.meter_provider
        )
        self.hooks = Hooks(tracing=self.tracing)

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in the order in which they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, start: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name.startswith(start)]

    def tree(self) -> Iterator[tuple[int, ReadableSpan]]:
        """Walk the spans, each after its parent, with its depth."""
        spans = self.spans
        known = {context_of(span).span_id for span in spans}

        def below(parent: int | None, depth: int) -> Iterator[tuple[int, ReadableSpan]]:
            for span in spans:
                above = span.parent.span_id if span.parent else None
                if (above if above in known else None) == parent:
                    yield depth, span
                    yield from below(context_of(span).span_id, depth + 1)

        yield from below(None, 0)

    def printout(self) -> str:
        lines: list[str] = []
        for depth, span in self.tree():
            margin, status = "  " * depth, span.status.status_code.name.lower()
            taken = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
            lines.append(f"{margin}{span.name}: {taken:.0f} ms, {status}")
            lines += [f"{margin}    {name}: {value}" for name, value in attributes(span).items()]
        return "\n".join(lines)

    def points(self, name: str) -> list[Any]:
        """Return the data points of a metric."""
        return [
            point
            for resource in self._data().resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def units(self) -> dict[str, str]:
        return {
            metric.name: metric.unit
            for resource in self._data().resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def everything(self) -> str:
        """Return all that was collected, as JSON."""
        spans = [span.to_json() for span in self.spans]
        return "\n".join([*spans, self._data().to_json()])

    def _data(self) -> Any:
        data: Any = self._reader.get_metrics_data()
        return data


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def context_of(span: ReadableSpan) -> Any:
    context: Any = span.context
    return context
