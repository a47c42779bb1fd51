"""What somebody hands over as a model is opened only where it can be one."""

from __future__ import annotations

import os
from pathlib import Path

from commonward.apps.verify_model import verify_model


def test_a_model_or_a_lineage_without_end_is_refused_unread(tmp_path: Path) -> None:
    model, lineage = tmp_path / "m.safetensors", tmp_path / "m.lineage"
    model.symlink_to("/dev/zero")
    endless = verify_model(model, b"")
    assert endless.exit_code == 2 and "expected a file of at most" in endless.verdict
    model.unlink()
    model.write_bytes(b"")
    os.truncate(model, 1 << 40)  # a file with a hole: it takes no room here
    assert "expected a file of at most" in verify_model(model, b"").verdict
    model.write_bytes(b"\xff\xd8\xff\xe0 a photograph")
    os.mkfifo(lineage)
    assert "m.lineage: expected a file of at most" in verify_model(model, b"").verdict
    lineage.unlink()
    assert "no lineage beside it" in verify_model(model, b"").verdict
    lineage.write_bytes(b"x")
    assert "expected a safetensors file" in verify_model(model, b"").verdict
