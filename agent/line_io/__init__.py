"""The line's controller: triggers in, verdicts out (`agent.ports.line`)."""
