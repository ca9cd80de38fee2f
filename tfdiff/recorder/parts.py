"""The parts of one recording, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.recorder.calls import Calls
from tfdiff.recorder.eager import Eager
from tfdiff.recorder.handing import Handing
from tfdiff.recorder.joints import Joints
from tfdiff.recorder.passes import Passes
from tfdiff.recorder.session.building import Building
from tfdiff.recorder.session.joints import SessionJoints
from tfdiff.recorder.session.running import Sessions
from tfdiff.recorder.tracing import Tracing

if TYPE_CHECKING:
    from tfdiff.recorder.recording import Recording


class Parts:
    """What the hooks report to."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.joints = Joints(recording)
        self.handing = Handing(recording, self.joints)
        self.eager = Eager(recording, self.joints)
        self.tracing = Tracing(recording, self.joints)
        self.calls = Calls(recording, self.eager)
        self.passes = Passes(recording)
        in_sessions = SessionJoints(recording, self.joints, self.handing)
        self.building = Building(recording, in_sessions)
        self.sessions = Sessions(recording, self.building, in_sessions)
