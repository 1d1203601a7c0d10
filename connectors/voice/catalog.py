"""Every voice platform we speak with: slug → platform, a line each."""

from __future__ import annotations

from collections.abc import Mapping

from connectors.voice.port import Platform
from connectors.voice.retell import Retell
from connectors.voice.vapi import Vapi

PLATFORMS: Mapping[str, Platform] = {platform.slug: platform for platform in (Vapi(), Retell())}
