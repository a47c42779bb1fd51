"""The embedded engine: one sequencer, followed and cosigned by the members' nodes."""
