"""The held-out records that travel in released bundles, by the bundle's digest."""

from __future__ import annotations

import threading
from collections import OrderedDict

from cloud.drift.held_out import HELD_OUT_NAME, MAX_HELD_OUT_BYTES, HeldOut, decode_held_out
from cloud.ports.labels import FoundHeldOut
from cloud.registry.release import Registry
from contract.archive import ArchiveReader
from contract.errors import BadBundle, BadDataset, NotFound

# Bundles of a fleet at one time: the running one, the one before, a canary's; a few kilobytes each.
_KEPT = 32


class HeldOutRecords:
    """Reads records from the registry's archives, and remembers them: an archive never changes. Thread-safe."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: OrderedDict[str, FoundHeldOut] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, bundle: str) -> FoundHeldOut:
        """Return the record of a released bundle, or why there is none. Never raises: estimates are absent then, no more."""
        with self._lock:
            if bundle in self._known:
                self._known.move_to_end(bundle)
                return self._known[bundle]
            try:
                found = self._read(bundle)
            except NotFound:
                # Not remembered: the bundle may yet be released here.
                return FoundHeldOut(None, "its bundle is not released here")
            except (BadBundle, BadDataset, OSError) as error:
                reason = (
                    error.one_line() if isinstance(error, (BadBundle, BadDataset)) else error.strerror or str(error)
                )
                found = FoundHeldOut(None, f"its held-out record cannot be read: {reason}")
            self._known[bundle] = found
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
            return found

    def _read(self, bundle: str) -> FoundHeldOut:
        with self._registry.blobs.path(bundle).open("rb") as file:
            reader = ArchiveReader(file)
            known = {entry.name: entry.size_bytes for entry in reader.manifest.files}
            if HELD_OUT_NAME not in known:
                return FoundHeldOut(None, "its release has no held-out record (an imported model, or an older release)")
            if known[HELD_OUT_NAME] > MAX_HELD_OUT_BYTES:
                raise BadDataset(f"a held-out record of {known[HELD_OUT_NAME]} bytes is over {MAX_HELD_OUT_BYTES}")
            record: HeldOut | None = None
            for entry, content in reader.files():
                if entry.name == HELD_OUT_NAME:
                    record = decode_held_out(b"".join(content))
                    break
                for _ in content:
                    pass
        labels = tuple(label.name for label in reader.manifest.labels)
        if record is None or record.labels != labels:
            raise BadDataset("it names other labels than its bundle", hint="gate and release the run again")
        return FoundHeldOut(record, "")
