"""Engines that run a network: PyTorch on any device, or this package's own C++ on the CPU, behind one interface."""

from safa.engine.base import Engine
from safa.engine.select import ENGINES, availability, pick_engine, usual_precision

__all__ = ["ENGINES", "Engine", "availability", "pick_engine", "usual_precision"]
