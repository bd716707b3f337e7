"""Every error Plumbline raises on purpose, and whether trying again can help.

PlumblineError                  message, hint, retry
├── TransientError              retry=True: the same call may succeed later
│   ├── LinkDown                broker or server not reached
│   ├── DeadlinePassed          an answer did not come in time
│   ├── CameraFault             a frame could not be captured
│   └── StorageFull             no room left on the disk or in its budget
└── RefusedError                retry=False: the same call fails again until somebody changes something
    ├── InvalidConfig           a config file or a command's arguments are wrong
    ├── BadImage                a file or a body that is no usable image
    ├── BadModel                a model that does not load, or disagrees with its manifest
    ├── BadBundle               a bundle that is torn, foreign or does not match its hashes
    ├── BadMessage              bytes on the wire that are no message of ours
    ├── BadOrder                an update order that must not be followed
    ├── BadDataset              a training folder or a label that cannot be used
    ├── SketchMismatch          sketches of different identities, which must not be merged
    ├── IllegalTransition       an event that a state machine has no row for
    ├── AddressInUse            another program holds the port
    └── NotFound                a version, station or file that is not there
"""

from __future__ import annotations


class PlumblineError(Exception):
    """An error a person can act on: what is wrong (`message`), what to do (`hint`), whether to retry (`retry`)."""

    retry: bool = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def one_line(self) -> str:
        """Return what went wrong and what to do, on one line and with nothing that a terminal would obey."""
        hint = _plain(self.hint)
        return f"{_plain(self.message)} ({hint})" if hint else _plain(self.message)


class TransientError(PlumblineError):
    """The same call may succeed later."""

    retry = True


class LinkDown(TransientError):
    """The broker or the server could not be reached."""


class DeadlinePassed(TransientError):
    """The answer did not come in time."""


class CameraFault(TransientError):
    """A frame could not be captured."""


class StorageFull(TransientError):
    """No room is left on the disk or in its budget."""


class RefusedError(PlumblineError):
    """The same call fails again until somebody changes something."""


class InvalidConfig(RefusedError):
    """A config file or a command's arguments are wrong."""


class BadImage(RefusedError):
    """A file or a body that is no usable image."""


class BadModel(RefusedError):
    """A model that does not load, or disagrees with its manifest."""


class BadBundle(RefusedError):
    """A bundle that is torn, foreign or does not match its hashes."""


class BadMessage(RefusedError):
    """Bytes on the wire that are no message of ours."""


class BadOrder(RefusedError):
    """An update order that must not be followed."""


class BadDataset(RefusedError):
    """A training folder or a label that cannot be used."""


class SketchMismatch(RefusedError):
    """Sketches of different identities, which must not be merged."""


class IllegalTransition(RefusedError):
    """An event that a state machine has no row for; the state is unchanged."""


class AddressInUse(RefusedError):
    """Another program holds the port."""


class NotFound(RefusedError):
    """A version, station or file that is not there."""


def _plain(text: str) -> str:
    # Messages quote names and bytes from outside: escape codes, and halves of characters that cannot even be printed.
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))
