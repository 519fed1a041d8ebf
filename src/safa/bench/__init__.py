"""Measurements of the engines on this machine: speed, memory and time per stage."""

from safa.bench.cases import Bench, Case, run_bench
from safa.bench.networks import usable_engines
from safa.bench.stages import Profile, run_profile
from safa.bench.stream import StreamBench, run_stream_bench

__all__ = ["Bench", "Case", "Profile", "StreamBench", "run_bench", "run_profile", "run_stream_bench", "usable_engines"]
